#!/usr/bin/python3
"""A node with a thousand clients dies: how long until each has resumed at the other node, and that nothing acknowledged is
lost. The clients are several processes (a core each); what they cost themselves is printed beside the server's share.

  tests/chaos/resume_distribution.py [--clients 1000] [--machine] [--processes N]"""
import argparse
import asyncio
import multiprocessing
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import client as clients_module  # noqa: E402
from client import Client, watch  # noqa: E402
from counting import NAMES, Counts, Records  # noqa: E402
from support.checks import Checks  # noqa: E402
from support.lab import Lab  # noqa: E402
from world import keeps_logs, log, until  # noqa: E402

SENDERS, AT_ONCE, AFTER = 10, 25, 15
COUNTERS = ("lost", "not_delivered", "doubled", "disordered", "bounced", "strange")


class Part:
    """The clients of one process: those at n1, and some at n2 who write to them."""

    def __init__(self, domain, at1, at2, receivers, senders, rate):
        clients_module.NEGOTIATION = 20.0  # a thousand handshakes at once take their time on a small machine
        self.records = Records()
        make = lambda user, nodes: Client(self.records, nodes, domain, user["jid"].split("@")[0], user["password"])
        self.receivers = [make(user, [at1, at2]) for user in receivers]
        self.senders = [make(user, [at2]) for user in senders]
        self.rate, self.talking = rate, True

    async def main(self, pipe):
        everybody = self.receivers + self.senders
        watching = asyncio.create_task(watch(everybody))
        for at in range(0, len(everybody), AT_ONCE):
            for client in everybody[at:at + AT_ONCE]:
                client.start()
            await until(lambda: all(c.online for c in everybody[:at + AT_ONCE]), 60, 0.02)
        talk = asyncio.create_task(self.talks())
        pipe.send({"online": sum(c.online for c in everybody), "at": [c.address for c in self.receivers]})
        killed = await asyncio.to_thread(pipe.recv)
        cpu = time.process_time()
        back = set()

        def all_back():
            back.update(o.device for o in self.records.outages if o.back > killed)
            return len(back) == len(self.receivers)

        await until(all_back, 30, 0.02)
        cpu = time.process_time() - cpu
        await asyncio.sleep(AFTER / 3)
        self.talking = False
        await talk
        settled = await until(lambda: all(c.online and not c.unacked for c in everybody), 30)
        await asyncio.sleep(3)
        await self.reads_archives()
        counts = Counts(self.records)
        found = {name: getattr(counts, name)() for name in COUNTERS}
        again = self.broken_again(killed)
        more = await self.about(counts)
        first = {}
        for outage in self.records.outages:
            if outage.back > killed:
                first.setdefault(outage.device, outage)
        pipe.send({"outages": [(o.broke, o.back, o.how) for o in first.values()], "again": again,
                   "cpu": cpu, "settled": settled is not None, "messages": len(self.records.sent),
                   "acked": sum(1 for s in self.records.sent.values() if s.acked),
                   "more": more, "found": found})
        watching.cancel()
        for client in everybody:
            client.wanted = False
            client._dies()

    def broken_again(self, killed):
        """Outages after the one that the kill made."""
        outages = [o.device for o in self.records.outages if o.back > killed]
        return len(outages) - len(set(outages))

    async def about(self, counts):
        """When the recipients of what did not come were away, and whether it comes after one more resumption."""
        missing = {line.split()[0] for line in counts.not_delivered() + counts.lost()}
        names = {one.split("/")[1] for one in missing}
        for client in self.receivers:
            if client.name in names and client.wire:
                client.wire.drop()
        if names:
            await asyncio.sleep(4)
        late = [r.id for r in self.records.received if r.id in missing]
        return [f"{o.device} was away until {o.at:.2f} for {o.back - o.broke:.2f} s" for o in self.records.outages
                if o.device.rsplit("-", 1)[0] in names] + [f"{one} came after one more resumption" for one in late]

    async def reads_archives(self):
        """Of those who miss something: it may be there at least."""
        missing = {line.split()[0].split("/")[1] for line in Counts(self.records).lost()}
        for client in self.receivers:
            if client.name in missing:
                self.records.archives[client.account] = await client.archived()

    async def talks(self):
        start, done = time.monotonic(), 0
        while self.talking:
            self.senders[done % len(self.senders)].message(self.receivers[done % len(self.receivers)].account)
            done += 1
            await asyncio.sleep(max(0, start + done / self.rate - time.monotonic()))


def part(pipe, arguments):
    asyncio.run(Part(*arguments).main(pipe))


def used(pid):
    """CPU seconds of a process."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(checks, lab, options):
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    users = lab.users()
    senders = lab.users("n2")[:SENDERS * options.processes]
    taken = {u["jid"] for u in senders}
    receivers = [u for u in users if u["jid"] not in taken][:options.clients]
    pipes, processes = [], []
    for number in range(options.processes):
        here, there = multiprocessing.Pipe()
        mine = lambda whole: whole[number::options.processes]
        arguments = (lab.domain, at["n1"], at["n2"], mine(receivers), mine(senders), options.rate / options.processes)
        process = multiprocessing.Process(target=part, args=(there, arguments), daemon=True)
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    told = [pipe.recv() for pipe in pipes]
    carried = sum(t["at"].count(at["n1"]) for t in told)
    checks.that(f"all {options.clients} are at n1", carried == options.clients, str(carried))
    time.sleep(2)
    pid = lab.node("n2")["pid"]
    busy = used(pid)
    killed = time.monotonic()
    lab("kill", *(["--machine"] if options.machine else []), "n1")
    for pipe in pipes:
        pipe.send(killed)
    done = []
    for pipe in pipes:
        done.append(pipe.recv())
    busy = used(pid) - busy
    for process in processes:
        process.join(10)

    outages = [outage for d in done for outage in d["outages"]]
    died = min((broke for broke, _, _ in outages), default=killed)  # the command itself takes a moment to get there
    times = sorted(back - died for _, back, how in outages if how == "resumed")
    anew = sum(1 for _, _, how in outages if how != "resumed")
    at_share = lambda share: times[min(len(times) - 1, int(len(times) * share))] if times else float("nan")
    log(f"seconds from the death of n1 to resumed: p50 {at_share(.5):.2f}, p90 {at_share(.9):.2f}, p99 {at_share(.99):.2f}, max "
        f"{at_share(1):.2f}")
    log(f"CPU seconds until the last was back: clients {sum(d['cpu'] for d in done):.1f} in {len(done)} processes; n2 until the end "
        f"{busy:.1f}; cores {os.cpu_count()}")
    log(f"{sum(d['messages'] for d in done)} messages, {sum(d['acked'] for d in done)} acknowledged; {anew} logged in anew")
    again = sum(d["again"] for d in done)
    checks.that("no stream broke a second time", again == 0, str(again))
    bound = 10 if options.machine else 5
    checks.that("at least 99.9 % resumed", len(times) >= 0.999 * options.clients, f"{len(times)} of {options.clients}")
    checks.that(f"the last is back within {bound} s", at_share(1) <= bound, f"{at_share(1):.2f} s")
    checks.that("everything is acknowledged in the end", all(d["settled"] for d in done))
    for line in [line for d in done for line in d["more"]]:
        log(line)
    for name in COUNTERS:
        found = [line for d in done for line in d["found"][name]]
        checks.that(f"0 {NAMES[name]}", not found, f"{len(found)} {found[:3]}" if found else "")


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--clients", type=int, default=1000)
parser.add_argument("--machine", action="store_true", help="the supervisor dies too")
parser.add_argument("--processes", type=int, default=os.cpu_count())
parser.add_argument("--rate", type=float, default=40, help="messages a second")
if __name__ == "__main__":
    options = parser.parse_args()
    extra = 2 * SENDERS * options.processes + 20
    with Checks() as checks, Lab("--nodes", "2", "--users", str(options.clients + extra), "--password", "pencil") as lab:
        try:
            main(checks, lab, options)
        finally:
            if checks.failed or sys.exc_info()[0]:
                print(f"logs: {keeps_logs(lab, 'resume-distribution')}", flush=True)
