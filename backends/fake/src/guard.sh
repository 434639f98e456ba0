# The guard of a fake machine: parent of its guest, itself never stopped.
#
# usage: guard DIR GUEST attached|detached [REMOVE ...]
# stdin: attached: the life pipe. Detached: a pipe on which a line says that the machine is
#        recorded; its end without one says that its maker is gone.
# stdout: one line, `ready <pid of the guest> [<pid of the watcher of the life pipe>]`.
# In DIR, the working directory: `control` is a fifo that only the guard keeps open for
# writing, so that the guest sees the guard's end; `alive` is one that every process of the
# machine keeps open, so that its end of file says that none is left.
set -u
dir=$1 guest=$2 lifetime=$3
shift 3
exec 3<&0 </dev/null 5<>control 6<>alive

sh -c "$guest" microagent-fake-guest "$dir" 3<&- 5<control >>console &
pid=$!

# Nothing but the guest has its working directory here under this number.
kill_guest() {
    [ "/proc/$pid/cwd" -ef . ] && kill -9 "$pid"
}

watcher=
if [ "$lifetime" = attached ]; then
    (
        exec >/dev/null 5<&-
        while read -r _ <&3; do :; done
        : >killed
        : >orphaned
        kill_guest
        # The guard removes all of it now, unless it was killed.
        [ "/proc/$$/cwd" -ef . ] || rm -rf -- "$dir" "$@"
    ) &
    watcher=$!
fi

echo "ready $pid $watcher"
exec >/dev/null
if [ "$lifetime" = detached ] && ! read -r _ <&3; then
    kill_guest
    exit 1
fi
exec 3<&-

wait "$pid"
status=$?
if [ -n "$watcher" ]; then
    kill -9 "$watcher"
    wait "$watcher"
fi
if [ -e orphaned ]; then
    rm -rf -- "$dir" "$@"
else
    echo "$status" >exit.new && mv exit.new exit
fi
exit 0
