#!/usr/bin/env bash
# A Slurm of one node on this machine, for tests: `up.sh DIR` starts it, `up.sh DIR down` stops it. It runs as root, without
# systemd, without accounting, as many small clusters do. DIR must have a short path, since it holds a socket.
# A job that is queued again begins after ten seconds (`cred_expire`) rather than two minutes.
# The environment gives the ports, CTLD_PORT and SLURMD_PORT; CPUS, however many the machine has; and MAX_ARRAY_SIZE.
set -euo pipefail
dir=$(realpath -m "$1")
host=$(hostname -s)
if [[ ${2:-} == down ]]; then
  # One after the other, and to their ends, so that nothing writes into a folder that is being removed.
  for name in slurmd slurmctld munged; do
    pid=$(cat "$dir/$name.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
  done
  exit 0
fi
mkdir -p "$dir"/{state,spool,log,munge}
chmod 755 "$dir"
chmod 711 "$dir/munge"
head -c 1024 /dev/urandom >"$dir/munge/key"
chmod 400 "$dir/munge/key"
munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munged.pid" \
  --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed"
cat >"$dir/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=10
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
SlurmctldPort=$CTLD_PORT
SlurmdPort=$SLURMD_PORT
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
MaxArraySize=${MAX_ARRAY_SIZE:-5}
KillWait=5
MinJobAge=300
ReturnToService=2
SlurmctldParameters=enable_configless
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=${CPUS:-4} RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=$host MaxTime=1 State=UP
CONF
export SLURM_CONF=$dir/slurm.conf
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 100); do
  [[ $(sinfo --noheader --partition=main --format=%T 2>/dev/null) =~ idle|mixed ]] && exit 0
  sleep 0.2
done
echo "no node became ready within 20 seconds; see $dir/log" >&2
exit 1
