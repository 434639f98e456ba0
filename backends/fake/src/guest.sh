# The beginning of every fake guest; what follows is made from the kernel's arguments.
#
# usage: guest DIR, with `control` of the machine as descriptor 5
set -u
held() {
    read -r _ <&5 || exit 70
}
forever() {
    while held; do :; done
}
# One step of the guest's clock, which stands still while the guest is stopped.
tick() {
    sleep 0.02
    [ "/proc/$PPID/cwd" -ef . ] || exit 70
}
# usage: ticks COUNT [TEXT]
ticks() {
    left=$1
    while [ "$left" -gt 0 ]; do
        tick
        [ $# -lt 2 ] || printf %s "$2"
        left=$((left - 1))
    done
}
held
