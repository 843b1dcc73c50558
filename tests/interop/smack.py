#!/usr/bin/python3
"""Smack's integration tests (an XMPP library's own suite for servers) against one node, then against a cluster whose nodes
take its connections in turn. Needs a JDK and Maven: apt-get install openjdk-17-jdk-headless maven."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks  # noqa: E402
from support.lab import LAB, REPOSITORY, Lab  # noqa: E402

SOURCES = pathlib.Path(__file__).with_name("smack")
BUILD = REPOSITORY / "build" / "smack"


def classpath():
    """Fetches the suite and compiles what goes with it; None where that cannot be done."""
    if not (shutil.which("mvn") and shutil.which("javac")):
        return None
    BUILD.mkdir(parents=True, exist_ok=True)
    jars = BUILD / "classpath"
    done = subprocess.run(["mvn", "-q", "-B", "-f", SOURCES / "pom.xml", "dependency:build-classpath",
                           f"-Dmdep.outputFile={jars}"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=900)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        return None
    subprocess.run(["javac", "-d", BUILD, "-cp", jars.read_text(), *SOURCES.glob("*.java")], check=True, timeout=300)
    return f"{BUILD}:{jars.read_text()}"


def expected():
    lines = (SOURCES / "expected-failures").read_text().splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def run(checks, lab, name, classes, folder):
    trust = pathlib.Path(folder) / "trust"
    subprocess.run(["keytool", "-importcert", "-noprompt", "-file", lab.status["ca_file"], "-keystore", trust,
                    "-storepass", "public"], check=True, capture_output=True, timeout=60)
    admin = lab.users()[0]
    properties = {
        "java.util.logging.SimpleFormatter.format": "%5$s%n",
        "javax.net.ssl.trustStore": trust, "javax.net.ssl.trustStorePassword": "public",
        "hexad.nodes": ",".join(node["address"] for node in lab.status["nodes"]),
        "hexad.control": f"{LAB}\nctl\n--instance\n{lab.instance}",
        "sinttest.service": lab.domain, "sinttest.replyTimeout": 20000,
        "sinttest.defaultConnection": "tcp", "sinttest.enabledConnections": "tcp",
        "sinttest.adminAccountUsername": admin["jid"].split("@")[0], "sinttest.adminAccountPassword": admin["password"],
        "sinttest.disabledTests": ",".join(expected()),
    }
    log = BUILD / f"{name}.log"
    with open(log, "w") as out:
        subprocess.run(["java", *(f"-D{key}={value}" for key, value in properties.items()), "-cp", classes, "Suite"],
                       stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=3600)
    text = log.read_text(errors="replace")
    for test in re.findall(r"^(\w+\.\w+ \(.*\)) Success$", text, re.M):
        checks.that(f"{name}: {test}", True)
    for test, why in re.findall(r"^(\w+\.\w+ \(.*\)) failed: (.*)$", text, re.M):
        checks.that(f"{name}: {test}", False, why[:500])
    checks.that(f"{name}: all was run", re.search(r"^SmackIntegrationTestFramework.* finished: ", text, re.M), f"see {log}")


with Checks() as checks:
    classes = classpath()
    if classes is None:
        print("SKIPPED smack: no maven")
    else:
        for name, arguments in (("one", ("--single",)), ("two", ("--nodes", "2"))):
            with Lab(*arguments, "--users", "1", "--password", "secret") as lab, tempfile.TemporaryDirectory() as folder:
                run(checks, lab, name, classes, folder)
