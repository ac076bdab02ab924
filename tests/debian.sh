# Installs Debian's packages for tests/run, which reads this file, and leaves the machine otherwise as it was.
#
# What is installed already is not upgraded, but where something new needs that. What comes is not started now (RUNLEVEL=1: see invoke-rc.d(8)), nor at the
# next boot: packages enable their services as they are installed, and nobody who runs tests has asked for an sshd.

install_packages() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  say "installing $* (nothing of it is started, now or at the next boot)"
  enabled_before="$(enabled)"
  trap disable_what_came EXIT # a Ctrl-C in between, too
  # A failure is no reason to stop: the tests that miss their peer say so themselves.
  { apt-get -qq update &&
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-upgrade --no-install-recommends "$@"; } \
    >&2 || say "could not install $*"
  disable_what_came
  trap - EXIT
}

# What is started at boot: links, for systemd and for System V's init.
enabled() {
  find /etc/systemd/system /etc/rc[0-9S].d -type l ! -name 'K*' 2>/dev/null | LC_ALL=C sort
}

disable_what_came() {
  local link name
  comm -13 <(printf '%s\n' "$enabled_before") <(enabled) | while read -r link; do
    case "$link" in
      /etc/systemd/*) rm -f "$link" ;;
      *) name="${link##*/S[0-9][0-9]}" && update-rc.d "$name" disable >&2 || say "still started at boot: $link" ;;
    esac
  done
}
