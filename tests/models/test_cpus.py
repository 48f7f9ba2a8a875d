"""CPUs that may be used: cgroup quotas of both versions, affinity, and the smaller of the two."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinnace.models import cpus
from pinnace.models.cpus import available_cpus, cgroup_cpu_quota, fast_precisions, has_avx512, saturates


def v2(folder: Path, quota: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(quota + "\n")


def v1(folder: Path, quota: int, period: int = 100_000) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "cgroup"
    folder.mkdir()
    return folder


def quota(root: Path, memberships: str = "0::/\n") -> float | None:
    proc = root.parent / "proc-self-cgroup"
    proc.write_text(memberships)
    return cgroup_cpu_quota(root, proc)


def test_v2_quota_of_the_root_as_a_container_sees_it(root: Path) -> None:
    v2(root, "150000 100000")
    assert quota(root) == 1.5


def test_v2_max_is_no_limit(root: Path) -> None:
    v2(root, "max 100000")
    assert quota(root) is None


def test_v2_the_tightest_ancestor_counts(root: Path) -> None:
    v2(root / "user.slice", "200000 100000")
    v2(root / "user.slice" / "app", "max 100000")
    v2(root / "user.slice" / "app" / "worker", "800000 100000")
    v2(root / "other", "10000 100000")
    assert quota(root, "0::/user.slice/app/worker\n") == 2


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_v1_quota(root: Path, controllers: str) -> None:
    v1(root / controllers / "docker" / "abc", 250_000)
    v1(root / controllers, -1)
    memberships = f"5:memory:/docker/abc\n3:{controllers}:/docker/abc\n1:name=systemd:/docker/abc\n"
    assert quota(root, memberships) == 2.5


def test_v1_a_container_sees_its_own_group_as_the_root(root: Path) -> None:
    v1(root / "cpu,cpuacct", 50_000)
    assert quota(root, "3:cpu,cpuacct:/docker/not-mounted-here\n") == 0.5


def test_v1_minus_one_is_no_limit(root: Path) -> None:
    v1(root / "cpu", -1)
    assert quota(root, "3:cpu:/\n") is None


def test_both_versions_side_by_side(root: Path) -> None:
    v1(root / "cpu" / "group", 300_000)
    v2(root, "max 100000")
    assert quota(root, "3:cpu:/group\n0::/\n") == 3


def test_no_cgroups_at_all_is_no_limit(tmp_path: Path) -> None:
    assert cgroup_cpu_quota(tmp_path / "missing", tmp_path / "missing-too") is None


@pytest.mark.parametrize(
    ("quota", "affinity", "answer"),
    [(None, 4, 4), (0.5, 4, 1), (1.5, 4, 2), (3.0, 4, 3), (64.0, 4, 4), (0.01, 1, 1)],
)
def test_the_smaller_of_quota_and_affinity_counts_and_a_part_of_a_cpu_as_one(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, affinity: int, answer: int
) -> None:
    monkeypatch.setattr(cpus, "cgroup_cpu_quota", lambda: quota)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(affinity)), raising=False)
    assert available_cpus() == answer


def test_where_the_system_has_no_affinity_its_cpus_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "cgroup_cpu_quota", lambda: None)
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert available_cpus() == 6
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert available_cpus() == 1


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "flags\t\t: fpu avx2 fma", True),
        ("x86_64", "flags\t\t: fpu avx2 avx512_vnni", False),
        ("AMD64", "flags\t\t: fpu avx2 avx_vnni", False),
        ("x86_64", "processor : 0", True),
        ("aarch64", "Features : asimd", False),
    ],
)
def test_products_of_bytes_saturate_on_x86_without_vnni(
    tmp_path: Path, machine: str, flags: str, expected: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    assert saturates(tmp_path / "cpuinfo", machine) is expected


def test_an_unknown_cpu_is_taken_to_saturate(tmp_path: Path) -> None:
    assert saturates(tmp_path / "none", "x86_64")


# Lines of /proc/cpuinfo, as the machines have them; of x86-64 only the flags that are about arithmetic.
_NEOVERSE = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop "
    "sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs paca pacg dcpodp svei8mm svebf16 "
    "i8mm bf16 dgh rng"
)
_CORTEX_A76 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
)
_SAPPHIRE_RAPIDS = (
    "fma avx2 avx512f avx512dq avx512bw avx512vl avx_vnni avx512_bf16 avx512_vnni amx_bf16 avx512_fp16 "
    "amx_tile amx_int8"
)


@pytest.mark.parametrize(
    ("line", "fast", "avx512"),
    [
        ("Features\t: fp asimd evtstrm crc32 cpuid", {}, False),
        (f"Features\t: {_CORTEX_A76}", {"fp16": "asimdhp", "int8": "asimddp"}, False),
        (f"Features\t: {_NEOVERSE}", {"bf16": "svebf16", "fp16": "asimdhp", "int8": "svei8mm"}, False),
        (
            f"flags\t\t: {_SAPPHIRE_RAPIDS}",
            {"bf16": "amx_bf16", "fp16": "avx512_fp16", "int8": "amx_int8"},
            True,
        ),
        (
            "flags\t\t: fma avx2 avx512f avx512_bf16 avx512_vnni",
            {"bf16": "avx512_bf16", "int8": "avx512_vnni"},
            True,
        ),
        ("flags\t\t: fma f16c avx2", {}, False),
    ],
    ids=["Pi 4", "Pi 5", "Graviton 3", "Sapphire Rapids", "Zen 4", "Zen 3"],
)
def test_what_a_cpu_multiplies_fast(tmp_path: Path, line: str, fast: dict[str, str], avx512: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    assert fast_precisions(tmp_path / "cpuinfo") == fast
    assert has_avx512(tmp_path / "cpuinfo") is avx512


def test_where_the_system_does_not_say_nothing_is_fast(tmp_path: Path) -> None:
    assert fast_precisions(tmp_path / "none") == {}
    assert has_avx512(tmp_path / "none") is False
