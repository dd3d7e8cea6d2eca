#!/usr/bin/env bash
# A SLURM of two nodes on this machine, for tests: munged, slurmctld and two slurmd, as root and without systemd.
#   tools/slurm_local.sh start FOLDER    prints what to put into the environment (SLURM_CONF=...)
#   tools/slurm_local.sh stop FOLDER
# Debian's packages: apt-get install slurmctld slurmd slurm-client munge. Tried with 22.05. There is no accounting.
set -euo pipefail

folder=$(realpath -m "$2")
names="127.0.0.1 stmask1 stmask2 # of the SLURM in $folder" # another may run beside it

start() {
  for program in munged slurmctld slurmd sbatch; do
    PATH=$PATH:/usr/sbin command -v $program >/dev/null || { echo "slurm_local.sh: no $program" >&2; exit 3; }
  done
  [ "$(id -u)" = 0 ] || { echo "slurm_local.sh: needs to be root" >&2; exit 3; }
  mkdir -p "$folder"/{state,spool/stmask1,spool/stmask2}
  grep -qF "$names" /etc/hosts || echo "$names" >>/etc/hosts # by which the processes of a run find the first node
  [ -f "$folder/munge.key" ] || (umask 077; head -c 1024 /dev/urandom >"$folder/munge.key")
  chown -R root: "$folder"; chmod 755 "$folder"
  /usr/sbin/munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munge.pid" \
    --log-file="$folder/munge.log" --seed-file="$folder/munge.seed"
  local host cores port
  host=$(hostname); cores=$(nproc --all)
  port=$((20000 + $$ % 3000 * 3))
  cat >"$folder/slurm.conf" <<CONF
ClusterName=stmask
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
JobRequeue=1
SchedulerParameters=batch_sched_delay=1,sched_interval=2
KillWait=5
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmdSpoolDir=$folder/spool/%n
StateSaveLocation=$folder/state
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=stmask1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$cores State=UNKNOWN
NodeName=stmask2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=$cores State=UNKNOWN
PartitionName=main Nodes=stmask1,stmask2 Default=YES MaxTime=INFINITE State=UP
CONF
  export SLURM_CONF=$folder/slurm.conf
  /usr/sbin/slurmctld -c -f "$SLURM_CONF"
  /usr/sbin/slurmd -N stmask1 -f "$SLURM_CONF"
  /usr/sbin/slurmd -N stmask2 -f "$SLURM_CONF"
  for _ in $(seq 30); do
    if [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | wc -l)" = 2 ]; then echo "SLURM_CONF=$SLURM_CONF"; return; fi
    sleep 1
  done
  echo "slurm_local.sh: its nodes do not come up: $folder/slurmctld.log" >&2
  stop
  exit 3
}

stop() {
  for file in "$folder"/slurmd.*.pid "$folder/slurmctld.pid" "$folder/munge.pid"; do
    if [ -f "$file" ]; then kill "$(cat "$file")" 2>/dev/null || true; fi
  done
  grep -vxF "$names" /etc/hosts >"$folder/hosts" && cat "$folder/hosts" >/etc/hosts
}

"$1"
