# Sourced. One line a step: what, how it came out, how long it took. On a terminal the line appears when the step starts.

case $(date +%N) in
  *[!0-9]* | '') now_ms() { echo "$(($(date +%s) * 1000))"; } ;; # BSD date knows seconds only
  *) now_ms() { echo "$(($(date +%s%N) / 1000000))"; } ;;
esac

begin() { # NAME WHAT
  step=$1
  started=$(now_ms)
  if [ -t 1 ]; then printf '%-12s%s …' "$step" "$2"; fi
}

end() { # OUTCOME
  if [ -t 1 ]; then printf '\r\033[K'; fi
  spent=$(($(now_ms) - started))
  # printf pads bytes, and the arrow is three of them: counted here, so that the times line up.
  pad=$((46 - $(printf '%s' "$1" | wc -m)))
  [ "$pad" -gt 1 ] || pad=1
  printf '%-12s%s%*s%3d.%d s\n' "$step" "$1" "$pad" '' "$((spent / 1000))" "$((spent % 1000 / 100))"
}

said() { # NAME OUTCOME, for a step that took no time
  printf '%-12s%s\n' "$1" "$2"
}

fail() { # CAUSE FIX
  if [ -t 1 ]; then printf '\r\033[K'; fi
  printf 'wayleave: %s\n  fix: %s\n' "$1" "$2" >&2
  exit 1
}
