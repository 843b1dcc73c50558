"""A generated company for the directory: the same people for the same number, whoever generates them."""
import base64
import hashlib
import random

SEED = 20121
GIVEN = """Ada Amir Anna Aoi Ben Björn Bruno Carla Chen Clara Daniel Dilan Elif Emma Eva Farid Felix Freya Giulia Hanna
Hiro Ines Ivan Jana Jin Jonas Julia Kenji Kwame Lea Leila Liam Lucía Maja Marco María Mei Milan Mina Noah Nora Olga
Omar Paul Petra Priya Rafael Rosa Samir Sara Seo-yeon Sofia Tariq Tomás Uma Vera Victor Wei Yara Yusuf Zoë""".split()
FAMILY = """Abe Acar Adler Almeida Andersson Bauer Becker Berg Bianchi Brandt Çelik Costa Dubois Eriksen Fischer Fontaine
Garcia Gruber Haas Hansen Horvat Ibrahim Ito Jansen Kaya Keller Khan Kim Klein Kovács Kowalski Krüger Larsen Lehmann Li
Lindqvist Lopez Maier Martin Mensah Moreau Müller Nakamura Nguyen Novák Okafor Olsen Park Patel Peeters Petrov Rossi
Santos Sato Schmidt Silva Singh Sørensen Suzuki Tanaka Virtanen Wagner Weber Wong Yılmaz Zhang Zimmermann""".split()
DEPARTMENTS = ["Sales", "Support", "Engineering", "Operations", "Finance", "People", "Marketing", "Legal"]
TITLES = ["Assistant", "Specialist", "Engineer", "Analyst", "Lead", "Manager"]
CITIES = ["Berlin", "Lyon", "Osaka", "Porto", "Toronto"]
# The smallest thing that is a JPEG to every reader: 1 by 1 pixel, grey.
PHOTO = base64.b64decode(
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQEBAgGBgUGCQgKCgkICQkKDA8MCgsOCwkJDRENDg8QEBEQCgwS"
    "ExIQEw8QEBD/yQALCAABAAEBAREA/8wABgAQEAX/2gAIAQEAAD8A0s8g/9k=")


def uid_of(number, width):
    return f"u{number:0{width}d}"


def uids(count):
    """u0001, u0002, …; five digits and more when needed."""
    width = max(4, len(str(count)))
    return [uid_of(number, width) for number in range(1, count + 1)]


def password_of(uid):
    """A person's password: not secret, but not the same for two people."""
    return base64.b32encode(hashlib.sha256(f"{SEED}:{uid}".encode()).digest())[:10].decode().lower()


def hashed(password, salt):
    """userPassword in the {SSHA} form."""
    digest = hashlib.sha1(password.encode() + salt).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


def _line(name, value):
    if isinstance(value, bytes):
        return f"{name}:: {base64.b64encode(value).decode()}\n"
    if value.isascii() and value[:1] not in (" ", ":", "<"):
        return f"{name}: {value}\n"
    return f"{name}:: {base64.b64encode(value.encode()).decode()}\n"


def _entry(file, dn, *attributes):
    file.write(_line("dn", dn))
    for name, value in attributes:
        file.write(_line(name, value))
    file.write("\n")


def write_ldif(file, lab, service_dn, service_password):
    """The whole tree: services, people (one OU a department; `l` is the city, `memberOf` what slapd would make of the
    groups), groups (one a department and `everyone`)."""
    choose = random.Random(SEED)
    suffix = lab.suffix
    _entry(file, suffix, ("objectClass", "dcObject"), ("objectClass", "organization"), ("o", "Lab"),
           ("dc", lab.domain.split(".")[0]))
    for unit in ("people", "groups", "services"):
        _entry(file, f"ou={unit},{suffix}", ("objectClass", "organizationalUnit"), ("ou", unit))
    _entry(file, service_dn, ("objectClass", "organizationalRole"), ("objectClass", "simpleSecurityObject"),
           ("cn", "hexad"), ("userPassword", hashed(service_password, b"hexad")))
    for department in DEPARTMENTS:
        _entry(file, f"ou={department},ou=people,{suffix}", ("objectClass", "organizationalUnit"), ("ou", department))
    members = {department: [] for department in DEPARTMENTS}
    heads = {}
    for uid in uids(lab.arguments["people"]):
        given, family, department = choose.choice(GIVEN), choose.choice(FAMILY), choose.choice(DEPARTMENTS)
        dn = f"uid={uid},ou={department},ou=people,{suffix}"
        attributes = [("objectClass", "inetOrgPerson"), ("uid", uid), ("cn", f"{given} {family}"), ("sn", family),
                      ("givenName", given), ("displayName", f"{given} {family}"), ("mail", f"{uid}@{lab.domain}"),
                      ("departmentNumber", department), ("ou", department), ("o", "Lab"),
                      ("title", choose.choice(TITLES)), ("l", choose.choice(CITIES)),
                      ("telephoneNumber", f"+49 30 555 {choose.randrange(10000):04d}"),
                      ("userPassword", hashed(password_of(uid), uid.encode())),
                      *(("memberOf", f"cn={name},ou=groups,{suffix}") for name in (department, "everyone"))]
        if choose.random() < 0.6:
            attributes.append(("mobile", f"+49 170 555 {choose.randrange(10000):04d}"))
        if choose.random() < 0.1:
            attributes.append(("jpegPhoto", PHOTO))
        if department in heads:
            attributes.append(("manager", heads[department]))
        else:
            heads[department] = dn
        _entry(file, dn, *attributes)
        members[department].append(dn)
    for department, dns in members.items():
        if dns:
            _entry(file, f"cn={department},ou=groups,{suffix}", ("objectClass", "groupOfNames"), ("cn", department),
                   *(("member", dn) for dn in dns))
    everyone = [dn for dns in members.values() for dn in dns]
    if everyone:
        _entry(file, f"cn=everyone,ou=groups,{suffix}", ("objectClass", "groupOfNames"), ("cn", "everyone"),
               *(("member", dn) for dn in everyone))
