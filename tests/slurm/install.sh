#!/usr/bin/env bash
# Installs the distribution's Slurm for tests/slurm where that does no harm: as root in a container, whose packages are nobody's
# concern and where no service starts. Never fails; the tests say why they are skipped.
packages=(slurmctld slurmd slurm-client munge)
command -v sbatch slurmctld slurmd munged >/dev/null && exit 0
[[ $(id -u) == 0 && ! -d /run/systemd/system ]] && command -v apt-get >/dev/null || exit 0
export DEBIAN_FRONTEND=noninteractive
# Only the downloads may be cut off: a half-way installation would leave the system's packages in need of repair.
{
  timeout 30 apt-get -qq update
  timeout 60 apt-get -qq --yes --no-install-recommends --download-only install "${packages[@]}" &&
    apt-get -qq --yes --no-install-recommends --no-download install "${packages[@]}"
} >/dev/null 2>&1 || echo "tests/slurm: the packages ${packages[*]} cannot be installed here, so its tests are skipped" >&2
exit 0
