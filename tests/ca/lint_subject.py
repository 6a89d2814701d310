"""The rows of the lint that look at the subject name: DN, CN, ORG, SAN-2."""

import re


NAMES = {
    "2.5.4.3": "commonName", "2.5.4.4": "surname", "2.5.4.5": "serialNumber", "2.5.4.6": "countryName",
    "2.5.4.7": "localityName", "2.5.4.8": "stateOrProvinceName", "2.5.4.9": "streetAddress",
    "2.5.4.10": "organizationName", "2.5.4.11": "organizationalUnitName", "2.5.4.12": "title",
    "2.5.4.17": "postalCode", "2.5.4.42": "givenName", "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier", "1.2.840.113549.1.9.1": "emailAddress",
}
BOUNDS = {"commonName": 64, "organizationName": 64, "organizationalUnitName": 64, "title": 64,
          "serialNumber": 64, "localityName": 128, "stateOrProvinceName": 128, "pseudonym": 128,
          "emailAddress": 255}
BASIC = {"commonName", "serialNumber", "emailAddress"}
PERSON = {"givenName", "surname", "pseudonym", "title"}
PLACE = {"localityName", "stateOrProvinceName", "countryName"}
FINE_PLACE = {"streetAddress", "postalCode"}
COMPANY = {"organizationName", "organizationalUnitName", "organizationIdentifier"}
TABLE = {"mailbox": BASIC, "organization": BASIC | PLACE | FINE_PLACE | COMPANY,
         "sponsor": BASIC | PLACE | FINE_PLACE | COMPANY | PERSON,
         "individual": BASIC | PLACE | FINE_PLACE | PERSON}
NOTHING = {"n/a", "na", "none", "null", "unknown", "not applicable", "absent", "empty", "incomplete"}
STRINGS = {0x0C: "utf-8", 0x13: "ascii", 0x16: "ascii", 0x14: "latin-1", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}
COUNTRIES = set((
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW "
    "BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI "
    "FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN "
    "IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME "
    "MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF "
    "PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV "
    "SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE "
    "YT ZA ZM ZW XX").split())
IDENTIFIER = re.compile(r"(?P<scheme>[A-Z]{3})(?P<country>[A-Z]{2})(?:\+(?P<part>[A-Z0-9]{1,3}))?"
                        r"(?:-(?P<reference>.+))?\Z", re.DOTALL)
LEI = re.compile(r"[A-Z0-9]{18}[0-9]{2}\Z")


def attributes(name):
    """[(attribute name or OID, text, tag)]"""
    result = []
    for relative in name.children:
        for attribute in relative.children:
            oid, value = attribute.children
            text = value.content.decode(STRINGS.get(value.tag, "latin-1"), "replace")
            result.append((NAMES.get(oid.oid(), oid.oid()), text, value.tag))
    return result


def check_subject(report, name, addresses):
    found = attributes(name)
    values = {}
    for attribute, text, tag in found:
        values.setdefault(attribute, []).append(text)
        check_string(report, attribute, text, tag)
    for attribute in ("emailAddress", "commonName"):
        for text in values.get(attribute, []):
            if attribute == "emailAddress" or "@" in text:
                report.ban("SAN-2", text not in addresses, f"{text!r} is not in the alternative name")
    check_table(report, values)
    check_places(report, values)
    check_common_name(report, values, addresses)
    if report.kind in ("organization", "sponsor"):
        for text in values.get("organizationIdentifier", []):
            check_organization_identifier(report, text, values)


def check_string(report, attribute, text, tag):
    wanted = {"countryName": (0x13,), "serialNumber": (0x13,), "emailAddress": (0x16,)}.get(attribute, (0x0C, 0x13))
    if attribute in NAMES.values():
        report.ban("DN-1", tag not in wanted, f"{attribute} has string type {tag}")
        bound = BOUNDS.get(attribute)
        report.ban("DN-1", bool(bound and len(text) > bound), f"{attribute} has {len(text)} characters")
        report.ban("DN-1", not text, f"{attribute} is empty")
    report.ban("DN-2", bool(text) and (not text.strip(".- ") or text.strip().lower() in NOTHING),
               f"{attribute} says nothing: {text!r}")
    if attribute == "organizationIdentifier":
        report.ban("ORG-1", tag not in (0x0C, 0x13), "string type of organizationIdentifier")


def check_table(report, values):
    present = set(values)
    outside = present - TABLE[report.kind]
    if report.kind == "mailbox":
        report.ban("DN-3", bool(outside), f"subject has {', '.join(sorted(outside))}")
        return
    if report.kind == "organization":
        report.ban("DN-5", bool(outside & PERSON), "the name of a person")
        outside -= PERSON
    if report.kind == "individual":
        report.ban("DN-6", bool(outside & COMPANY), "an organization")
        outside -= COMPANY
    report.ban("DN-8", bool(outside), f"subject has {', '.join(sorted(outside))}")
    report.ban("DN-7", report.strict and bool(present & FINE_PLACE), "streetAddress or postalCode")
    if report.kind in ("organization", "sponsor"):
        report.ban("DN-4", not {"organizationName", "organizationIdentifier"} <= present,
                   "no organizationName or no organizationIdentifier")
    if report.kind in ("sponsor", "individual"):
        named = bool(present & {"givenName", "surname"})
        report.ban("DN-9", named == ("pseudonym" in present), "needs a name or else a pseudonym")


def check_places(report, values):
    present = set(values)
    report.ban("DN-10", "streetAddress" in present and not present & {"localityName", "stateOrProvinceName"},
               "streetAddress without a place")
    report.ban("DN-10", bool(present & {"localityName", "stateOrProvinceName", "postalCode"})
               and "countryName" not in present, "a place without a country")
    for text in values.get("countryName", []):
        report.ban("DN-11", text not in COUNTRIES, f"{text!r} is no country")


def check_common_name(report, values, addresses):
    for text in values.get("commonName", []):
        if report.kind == "mailbox":
            report.ban("CN-1", text not in addresses, f"commonName {text!r} is no address of the certificate")
        elif report.kind == "organization":
            report.ban("CN-2", text not in addresses and text not in values.get("organizationName", []),
                       f"commonName {text!r} is neither organization nor address")
        elif "pseudonym" in values:
            report.ban("CN-3", text not in addresses and text not in values["pseudonym"],
                       f"commonName {text!r} is not the pseudonym")
        elif text not in addresses:
            names = values.get("givenName", []) + values.get("surname", [])
            if not any(part.lower() in text.lower() for part in names):
                report.warn("CN-3", f"commonName {text!r} has no part of the name")


def check_organization_identifier(report, text, values):
    match = IDENTIFIER.match(text)
    if not match:
        report.error("ORG-1", f"organizationIdentifier {text!r}")
        return
    scheme, country, reference = match["scheme"], match["country"], match["reference"]
    if scheme in ("GOV", "INT"):
        report.ban("ORG-2", reference is not None, f"{scheme} with a reference")
    else:
        report.ban("ORG-2", scheme not in ("NTR", "VAT", "PSD", "LEI") or not reference, f"scheme {scheme}")
    if scheme in ("LEI", "INT"):
        report.ban("ORG-2", country != "XG", f"{scheme} with country {country}")
        report.ban("ORG-2", scheme == "LEI" and not LEI.match(reference or ""), "an LEI of the wrong form")
        return
    # The European Union's tax prefix for Greece is not its country code.
    country = "GR" if (scheme, country) == ("VAT", "EL") else country
    stated = values.get("countryName")
    report.ban("ORG-3", bool(stated) and country not in stated, f"{text} and countryName {stated}")
    if scheme == "NTR" and country == "DE" and "." not in (reference or ""):
        report.warn("ORG-4", "a German register number is no EUID")
