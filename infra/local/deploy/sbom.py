"""Writes the bill of materials of what is deployed: every crate that ends in one of the functions, as CycloneDX.

Invariant: what is built in comes from the lock file and nowhere else; what only builds or tests is not in it.
Usage: sbom.py functions… >sbom.json, with a Python that has cyclonedx-python-lib.
"""

import json
import subprocess
import sys
import tomllib

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

TARGET = "aarch64-unknown-linux-gnu"
CARGO = ["cargo", "metadata", "--locked", "--offline", "--format-version=1", f"--filter-platform={TARGET}"]


def shipped(metadata, roots):
    """For each package that a root links, directly or not, the packages that it links itself."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    links = {}
    waiting = list(roots)
    while waiting:
        package = waiting.pop()
        if package in links:
            continue
        dependencies = nodes[package]["deps"]
        normal = [one["pkg"] for one in dependencies if any(kind["kind"] is None for kind in one["dep_kinds"])]
        links[package] = normal
        waiting.extend(normal)
    return links


def component(package, checksums):
    name, version = package["name"], package["version"]
    checksum = checksums.get((name, version))
    licence = (package["license"] or "").replace("/", " OR ")
    return Component(
        name=name,
        version=version,
        type=ComponentType.APPLICATION if package["source"] is None else ComponentType.LIBRARY,
        bom_ref=f"{name}@{version}",
        purl=PackageURL("cargo", None, name, version) if package["source"] else None,
        description=package["description"],
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else [],
    )


def main(functions):
    metadata = json.loads(subprocess.run(CARGO, check=True, stdout=subprocess.PIPE).stdout)
    with open("Cargo.lock", "rb") as lock:
        locked = tomllib.load(lock)["package"]
    checksums = {(one["name"], one["version"]): one.get("checksum") for one in locked}
    packages = {package["id"]: package for package in metadata["packages"]}
    members = metadata["workspace_members"]
    roots = [id for id in members if packages[id]["name"] in functions]
    assert len(roots) == len(functions), f"the workspace has not all of {functions}"
    links = shipped(metadata, roots)
    components = {id: component(packages[id], checksums) for id in links}

    version = packages[roots[0]]["version"]
    bom = Bom(components=components.values())
    bom.metadata.component = Component(name="gmail-sync", version=version, type=ComponentType.APPLICATION)
    bom.register_dependency(bom.metadata.component, [components[id] for id in roots])
    for id, below in links.items():
        bom.register_dependency(components[id], [components[one] for one in below])
    print(JsonV1Dot6(bom).output_as_string(indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
