# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What a stranger finds at the door: citation, licence, how to contribute, what CI runs, what an sdist holds."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.util import find_spec

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from paths import ROOT

from hf_dynamicvit import __version__


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
DOORS = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "RELEASE.md", "AGENTS.md", "llms.txt")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_one():
    """Of the package, of the citation, of its BibTeX, and of the docs."""
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0" and citation["version"] == __version__
    assert f"version = {{{__version__}}}" in read("docs/cite.md")
    assert f"These are the pages of version {__version__}." in read("docs/index.md")
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert citation["license"] == PROJECT["license"]


def test_the_project_says_what_it_is():
    assert {"token pruning", "token merging"} <= {*PROJECT["keywords"]} and len(PROJECT["description"]) < 200
    versions = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)]
    assert versions[0] == PROJECT["requires-python"].removeprefix(">=")
    for address in PROJECT["urls"].values():
        assert address.startswith("https://")


def test_developers_have_one_set_of_versions():
    """Of all that the project asks for, within what it allows."""
    lines = [line for line in read("constraints-dev.txt").splitlines() if not line.startswith("#")]
    versions = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    wanted = [Requirement(each) for group in groups for each in group]
    optional = {"hf-dynamicvit", "openvino", "torchvision"}  # no tests need them
    for requirement in (each for each in wanted if each.name not in optional):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement.name


@pytest.mark.parametrize("name", DOORS)
def test_links_lead_somewhere(name):
    targets = re.findall(r"\]\(([^)\s]+)\)", read(name))
    assert not [target for target in targets if "://" not in target and not (ROOT / target).is_file()]
    for path in re.findall(r"`((?:docs|src|tests|\.ci)/[\w/.]+)`", read(name)):
        assert (ROOT / path).exists(), path


def test_machines_find_every_page():
    pages = re.findall(r"^ +- .+: ([\w/]+\.md)$", read("mkdocs.yml"), re.MULTILINE)
    assert {f"docs/{page}" for page in pages} <= {*re.findall(r"\]\((\S+)\)", read("llms.txt"))}


def test_workflows_call_the_legs_of_ci():
    legs = set(re.findall(r"^if leg (\w+); then$", CI, re.MULTILINE))
    assert all(re.search(rf"^#   {leg} ", CI, re.MULTILINE) for leg in legs)
    workflow = yaml.safe_load(read(".github/workflows/ci.yml"))
    job = workflow["jobs"]["leg"]
    assert job["steps"][-1]["run"] == ".ci/run ${{ matrix.leg }}"
    called = {each["leg"] for each in job["strategy"]["matrix"]["include"]}
    pythons = {f"Programming Language :: Python :: {each['python']}" for each in job["strategy"]["matrix"]["include"]}
    assert pythons == {name for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)}
    weekly = yaml.safe_load(read(".github/workflows/weekly.yml"))
    (last,) = re.findall(r"^\.ci/run (\w+)$", weekly["jobs"]["transformers-main"]["steps"][-1]["run"])
    assert called | {last} == legs and called.isdisjoint({last})
    for jobs in (workflow, weekly):
        assert jobs["permissions"] == {"contents": "read"}


def test_a_leg_runs_when_it_is_asked_for():
    """Without one all run but the weekly."""
    function = CI[CI.index("leg() {") : CI.index("passed() {")]
    for which, expected in (("all", "newest oldest stranger"), ("main", "main"), ("oldest", "oldest")):
        script = f"which={which}\n{function}\nfor each in newest oldest stranger main; do leg $each || :; done"
        run = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True)
        assert " ".join(re.findall(r"^== (\w+)$", run.stdout, re.MULTILINE)) == expected, run.stderr


def test_hooks_are_what_ci_checks():
    (repository,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    for hook in repository["hooks"]:
        assert f"\n    {hook['entry']}\n" in CI and f"\t{hook['entry']}\n" in read("Makefile")


def test_every_file_that_github_reads_has_a_schema():
    """CI checks them: `tools/check_schemas.py`."""
    checked = re.findall(r'"([\w./-]+\.(?:yml|cff))"', read("tools/check_schemas.py"))
    files = [str(file.relative_to(ROOT)) for file in (ROOT / ".github").rglob("*.yml")]
    assert {*checked} == {*files, "CITATION.cff"}


@pytest.mark.skipif(find_spec("check_jsonschema") is None, reason="check-jsonschema has the schemas")
def test_schemas_are_kept(tmp_path):
    tool = ROOT / "tools" / "check_schemas.py"
    assert subprocess.run([sys.executable, tool], capture_output=True).returncode == 0
    for name in ("tools", ".github"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "CITATION.cff").write_text("title: no citation")
    assert subprocess.run([sys.executable, tmp_path / "tools" / tool.name], capture_output=True).returncode == 1


def test_make_tells_its_targets():
    text = read("Makefile")
    named = {*re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)[1].split()}
    assert named == {*re.findall(r"^([a-z-]+):", text, re.MULTILINE)}
    for target in re.findall(r"`make ([\w-]+)`", read("CONTRIBUTING.md") + read(".github/PULL_REQUEST_TEMPLATE.md")):
        assert target in named


def test_the_changelog_keeps_its_form():
    """Of Keep a Changelog: what is not released on top, then versions with their days; changes by kind."""
    versions = re.findall(r"^## (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version) for version in versions[1:])
    kinds = re.findall(r"^### (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert kinds and {*kinds} <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("build") is None, reason="it is built with `build`")
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is one")
def test_an_sdist_holds_its_tests(tmp_path):
    """What git has, but what only git and editors read."""
    copy = tmp_path / "copy"
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for file in filter(None, files):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, copy / file)
    command = [
        sys.executable,
        "-m",
        "build",
        "--sdist",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(copy),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (archive,) = (tmp_path / "dist").iterdir()
    with tarfile.open(archive) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    assert not {*filter(None, files)} - held
    assert not [name for name in held if "__pycache__" in name]
