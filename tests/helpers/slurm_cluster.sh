#!/usr/bin/env bash
# The first process of the cluster of slurm_cluster.py: starts it, prints "ready", and ends it at end of file on stdin.
#   slurm_cluster.sh FOLDER NODES yes|no    yes: namespaces are allowed, and this process is in ones of its own
set -euo pipefail
folder=$1 nodes=$2 namespaces=$3
export SLURM_CONF=$folder/slurm.conf

boot() { # NODE
  if [ "$namespaces" = no ]; then
    slurmd -N "$1" -f "$SLURM_CONF"
  else
    # shellcheck disable=SC2016  # the inner shell expands it
    nsenter --net="/run/netns/$1" unshare --uts --mount bash -c '
      hostname "$1" && mkdir -p /tmp/node-local && mount -t tmpfs tmpfs /tmp/node-local && exec slurmd -N "$1" -f "$2"
    ' boot "$1" "$SLURM_CONF"
  fi
}

stop() { # where there is a process namespace, the kernel ends everything in it with this shell
  [ "$namespaces" = yes ] && exit
  timeout 5 scancel --full --user=root || true
  timeout 5 scontrol shutdown || true
  kill "$(cat "$folder/munged.pid")" || true
}
trap stop EXIT

if [ "$namespaces" = yes ]; then
  mount -t tmpfs tmpfs /run # ip keeps its namespaces there
  mount --bind "$folder/hosts" /etc/hosts
  mount --bind "$folder/nsswitch.conf" /etc/nsswitch.conf
  hostname ctl
  ip link set lo up
  ip link add br0 type bridge
  ip address add 10.77.0.254/24 dev br0
  ip link set br0 up
  for ((i = 1; i <= nodes; i++)); do
    ip netns add "n$i"
    ip link add "v$i" type veth peer name eth0 netns "n$i"
    ip link set "v$i" master br0 up
    ip -n "n$i" link set lo up
    ip -n "n$i" address add "10.77.0.$i/24" dev eth0
    ip -n "n$i" link set eth0 up
  done
fi
munged --force --key-file="$folder/munge.key" --socket="$folder/munge" --pid-file="$folder/munged.pid" \
  --seed-file="$folder/munge.seed" --log-file="$folder/munged.log"
slurmctld -f "$SLURM_CONF"
for ((i = 1; i <= nodes; i++)); do boot "n$i"; done
idle() { timeout 5 sinfo --noheader --Node --states=idle --partition=train | wc -l; }
until [ "$(idle)" = "$nodes" ]; do
  [ $SECONDS -lt 60 ] || { sinfo --list-reasons && exit 1; }
  read -r -t 0.1 || [ $? -gt 128 ] || exit 1 # end of file
done
echo ready
read -r || true
