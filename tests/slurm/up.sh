#!/usr/bin/env bash
# A Slurm of two nodes on this machine, for tests: `up.sh DIR` starts it, `up.sh DIR down` stops it. It runs as root, without
# systemd, without accounting, as many small clusters do. DIR must have a short path, since it holds a socket.
# A job that is queued again begins after ten seconds (`cred_expire`) rather than two minutes.
# The environment gives the ports: CTLD_PORT, and SLURMD_PORTS for both nodes. Each node has two cores, however many the
# machine has. The first has the name of the machine, which can be resolved, and the second comes after it.
set -euo pipefail
dir=$(realpath -m "$1")
host=$(hostname -s)
nodes=("$host" zz-second)
read -ra ports <<<"${SLURMD_PORTS:-}"
if [[ ${2:-} == down ]]; then
  # One after the other, and to their ends, so that nothing writes into a folder that is being removed.
  for name in "${nodes[@]/#/slurmd-}" slurmctld munged; do
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
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
SlurmctldPort=$CTLD_PORT
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MaxArraySize=5
KillWait=5
MinJobAge=300
ReturnToService=2
SlurmctldParameters=enable_configless
SlurmdParameters=config_overrides
NodeName=${nodes[0]} NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[0]} CPUs=2 RealMemory=8000 State=UNKNOWN
NodeName=${nodes[1]} NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[1]} CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=${nodes[0]},${nodes[1]} Default=YES MaxTime=INFINITE GraceTime=20 State=UP
PartitionName=short Nodes=${nodes[0]},${nodes[1]} MaxTime=1 State=UP
PartitionName=urgent Nodes=${nodes[0]},${nodes[1]} PriorityTier=9 State=UP
CONF
export SLURM_CONF=$dir/slurm.conf
slurmctld -f "$SLURM_CONF"
for node in "${nodes[@]}"; do
  mkdir -p "$dir/spool/$node"
  slurmd -f "$SLURM_CONF" -N "$node"
done
for _ in $(seq 100); do
  [[ $(sinfo --noheader --partition=main --states=idle --format=%D 2>/dev/null) == 2 ]] && exit 0
  sleep 0.2
done
echo "the nodes were not ready within 20 seconds; see $dir/log" >&2
exit 1
