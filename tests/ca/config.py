"""The configuration file: defaults, and complaints about what it gets wrong."""

import os

PROFILE_TYPES = ("mailbox", "organization", "sponsor", "individual")
GENERATIONS = ("strict", "multipurpose", "legacy")


def default_profiles():
    result = {}
    for usage, words in (("signing", "signing"), ("encryption", "encryption"),
                         ("signing-encryption", "signing and encryption")):
        result[usage] = {"type": "mailbox", "generation": "strict", "usage": usage,
                         "description": f"mailbox-validated, strict, for {words}"}
    for kind in PROFILE_TYPES:
        for generation in ("strict", "multipurpose"):
            result[f"{kind}-{generation}"] = {
                "type": kind, "generation": generation, "usage": None,
                "description": f"{kind}-validated, {generation}; usage by the CSR"}
    return result


DEFAULTS = {
    "listen": {"host": "127.0.0.1", "port": 0},
    "admin": {"host": "127.0.0.1", "port": 0},
    "smtp_listen": {"host": "127.0.0.1", "port": 0},
    "http_listen": None,
    "base_url": None,
    "http_url": "http://crl.ca.example",
    "ocsp_url": None,
    "tls_cert": None,
    "tls_key": None,
    "tls_names": [],
    "smtp_out": {"mx": True},
    "smtp_starttls": False,
    "smtp_tries": 30,
    "smtp_retry_interval": 1,
    "helo": "mx.ca.example",
    "mail_from": "acme@ca.example",
    "reply_to": None,
    "dkim": {},
    "dkim_keys": {},
    "dns_check": True,
    "state_dir": None,
    "key_type": "p256",
    "caa_identities": ["ca.example"],
    "eab": {},
    "eab_required": False,
    "profiles": default_profiles(),
    "default_profile": {"type": "mailbox", "generation": "strict", "usage": None,
                        "description": "mailbox-validated, strict"},
    "organization": {"name": "Example Works", "country": "DE", "identifier": "NTRDE-R1101.HRB12345"},
    "people": {},
    "behaviour": {},
}


class ConfigError(ValueError):
    pass


def complete(given):
    """The configuration with defaults filled in."""
    unknown = set(given) - set(DEFAULTS)
    if unknown:
        raise ConfigError(f"unknown settings: {', '.join(sorted(unknown))}")
    result = {**DEFAULTS, **given}
    if not result["state_dir"]:
        raise ConfigError("state_dir is needed")
    if result["key_type"] not in ("p256", "p384", "rsa"):
        raise ConfigError("key_type is p256, p384 or rsa")
    for section in ("listen", "admin", "smtp_listen"):
        result[section] = {**DEFAULTS[section], **result[section]}
    domain = result["mail_from"].rpartition("@")[2]
    result["dkim"] = {"selector": "ca", "domain": domain,
                      "key": os.path.join(result["state_dir"], "dkim.key"), **result["dkim"]}
    # "profiles" of the file are added to the usual ones; null takes one away.
    profiles = {**DEFAULTS["profiles"], **given.get("profiles", {})}
    result["profiles"] = {name: profile for name, profile in profiles.items() if profile}
    for name, profile in result["profiles"].items():
        profile.setdefault("usage", None)
        profile.setdefault("description", name)
        if profile.get("type") not in PROFILE_TYPES or profile.get("generation") not in GENERATIONS:
            raise ConfigError(f"profile {name} needs type and generation")
    for kid, key in result["eab"].items():
        if not isinstance(key, dict) or "key" not in key:
            raise ConfigError(f"eab {kid} needs a key")
    return result
