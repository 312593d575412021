#!/bin/sh
# Wayleave for images that have nothing but sh and curl: the session of one CI job, as a bearer of short tokens.
#
# Get it:    curl -fsS "$WAYLEAVE_URL/client.sh" -o wayleave.sh
# Check it:  curl -fsS "$WAYLEAVE_URL/client.sh.sha256" | sha256sum -c
#
#   sh wayleave.sh exchange [TARGET...]          open this job's session (the other commands do it where needed)
#   sh wayleave.sh token [TARGET...]             print the path of a file, mode 0600, that holds an access token
#   sh wayleave.sh get URL [CURL ARGUMENTS]      GET with the token
#   sh wayleave.sh request URL [CURL ARGUMENTS]  curl with the token:  request URL -X POST --data @body.json
#   sh wayleave.sh end                           end the session, now
#
# Reads WAYLEAVE_ID_TOKEN (the job's identity token), WAYLEAVE_URL (the broker; default: the token's audience) and, for a
# private CA, SSL_CERT_FILE. Needs curl 7.55 or later. The session's handle is kept in XDG_RUNTIME_DIR or TMPDIR, never in the project folder. No token
# is printed or put on a command line. There is no heartbeat: a job that dies is noticed by webhook, poll or expiry.
#
# Exit status: 0 done, 2 wrong usage, 3 refused, 5 no answer (an outage, never a refusal); get and request: curl's own.

set -eu
umask 077

say() { printf 'wayleave: %s\n' "$*" >&2; }
fail() { status=$1; shift; say "$@"; exit "$status"; }

# --- Where the session is kept -------------------------------------------------------------------------------------------

job_key() {
  if [ -n "${CI_JOB_ID:-}" ]; then printf 'gitlab-%s-%s' "${CI_SERVER_URL:-}" "$CI_JOB_ID"
  elif [ -n "${BUILDKITE_JOB_ID:-}" ]; then printf 'buildkite-%s' "$BUILDKITE_JOB_ID"
  else fail 2 'error  invalid_request: neither CI_JOB_ID nor BUILDKITE_JOB_ID is set. Run this inside a CI job.'
  fi
}

# Letters, digits and dashes only: the key becomes the name of a folder.
find_folder() {
  key=$(job_key) || exit $?
  key=$(printf '%s' "$key" | tr -c 'A-Za-z0-9' '-')
  base=${XDG_RUNTIME_DIR:-${TMPDIR:-/tmp}}
  project=${CI_PROJECT_DIR:-${BUILDKITE_BUILD_CHECKOUT_PATH:-}}
  if [ -n "$project" ]; then
    case $base/ in "$project"/*) base=/tmp ;; esac
  fi
  folder=$base/wayleave-sh-$(id -u)
  private_folder "$folder"
  folder=$folder/$key
  private_folder "$folder"
}

# A folder that somebody else prepared, or can look into, is refused.
private_folder() {
  mkdir "$1" 2>/dev/null || :
  if [ -L "$1" ] || [ ! -d "$1" ] || [ "$(owner "$1")" != "$(id -u)" ]; then
    fail 2 "error  invalid_request: $1 is not a folder of this user. Remove it and retry."
  fi
  chmod 700 "$1"
}

owner() { ls -ldn "$1" | { read -r _ _ uid _ && printf '%s' "$uid"; }; }

# A value of the handle, which has one "name value" a line; empty where there is none.
kept() {
  if [ -f "$folder/session" ] && [ ! -L "$folder/session" ]; then
    sed -n "s/^$1 //p" "$folder/session"
  fi
}

# --- What the broker says ------------------------------------------------------------------------------------------------

# A string or number of the answer's top level. The values asked for here never hold a quote or a backslash.
field() { tr -d '\n' <"$folder/answer" | sed -n 's/.*"'"$1"'" *: *"\{0,1\}\([^",}]*\).*/\1/p'; }

# A sentence is cut at its first quotation mark, if it holds one.
sentence() { tr -d '\000-\037' <"$folder/answer" | sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p'; }

broker_url() {
  url=${WAYLEAVE_URL:-}
  if [ -z "$url" ]; then
    url=$(kept url)
  fi
  if [ -z "$url" ] && [ -n "${WAYLEAVE_ID_TOKEN:-}" ]; then
    url=$(audience)
  fi
  case $url in
    https://* | http://127.0.0.1[:/]* | http://localhost[:/]*) url=${url%/} ;;
    *) fail 2 'error  invalid_request: the broker is unknown. Set WAYLEAVE_URL to its https address.' ;;
  esac
}

# The `aud` of the identity token, where there is a base64 to read it with.
audience() {
  payload=$(printf '%s' "$WAYLEAVE_ID_TOKEN" | cut -d. -f2 | tr '_-' '/+')
  case $((${#payload} % 4)) in 2) payload=$payload== ;; 3) payload=$payload= ;; esac
  printf '%s' "$payload" | base64 -d 2>/dev/null | sed -n 's/.*"aud" *: *\[\{0,1\} *"\([^"]*\)".*/\1/p'
}

# POST with the body on stdin, so that no token stands on a command line. Sets `code`; the answer is in a 0600 file.
# $1 path, then curl arguments.
post() {
  path=$1
  shift
  code=$(
    curl -sS -o "$folder/answer" -w '%{http_code}' --max-time 30 --connect-timeout 10 \
      ${SSL_CERT_FILE:+--cacert "$SSL_CERT_FILE"} "$@" "$url$path" 2>"$folder/curl"
  ) || code=000
}

# Posts the file `form` until the broker answers: the same form, and the same Idempotency-Key, so that a lost answer is given again.
post_token() {
  try=1
  while :; do
    post /oauth2/token -H "Idempotency-Key: $idempotency_key" --data "@$folder/form"
    case $code in 000 | 5*) ;; *) break ;; esac
    if [ "$try" -ge 5 ]; then
      rm -f "$folder/form"
      fail 5 "no answer  broker_unreachable: $url did not answer ($(why_not)). Check the address and the network."
    fi
    try=$((try + 1))
    say "no answer from the broker (retrying, $try of 5)"
    sleep "$((try - 1))"
  done
  rm -f "$folder/form"
}

why_not() {
  if [ "$code" = 000 ]; then sed 's/^curl: //;q' "$folder/curl"; else printf 'HTTP %s' "$code"; fi
}

refused() {
  word=$(field code)
  text=$(sentence error_description)
  [ -n "$text" ] || text=$(sentence detail)
  rm -f "$folder/answer"
  fail 3 "refused  ${word:-http_$code}: ${text:-the broker answered HTTP $code.}"
}

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# Percent-encodes everything but letters, digits and -._~; targets and tokens are ASCII.
encode() {
  printf '%s' "$1" | od -An -v -tx1 | tr -d '\n' | sed 's/ /%/g
    s/%2d/-/g; s/%2e/./g; s/%5f/_/g; s/%7e/~/g'
}

targets_form() {
  for target in "$@"; do printf '&audience=%s' "$(encode "$target")"; done
}

# --- The session ---------------------------------------------------------------------------------------------------------

# Keeps what was answered: the handle first, whole, then the token.
keep() {
  refresh=$(field refresh_token)
  session=$(field session_id)
  life=$(field expires_in)
  if [ -z "$refresh" ] || [ -z "$session" ]; then
    fail 5 "no answer  broker_unreachable: $url does not answer as a broker. Check the address."
  fi
  printf 'url %s\nsession %s\nrefresh %s\n' "$url" "$session" "$refresh" >"$folder/session.new"
  mv "$folder/session.new" "$folder/session"
  field access_token >"$folder/token.new"
  # Renewed at two thirds of its life.
  printf '%s %s\n' "$(($(date +%s) + ${life:-0} * 2 / 3))" "$asked" >"$folder/fresh"
  mv "$folder/token.new" "$folder/token"
  ends=$(field session_expires_at)
  roles=$(field scope)
  rm -f "$folder/answer"
}

exchange() {
  if [ -z "${WAYLEAVE_ID_TOKEN:-}" ]; then
    fail 2 'error  invalid_request: WAYLEAVE_ID_TOKEN is not set. Add to the job: id_tokens: { WAYLEAVE_ID_TOKEN: { aud: <the broker> } }'
  fi
  idempotency_key=$(random)
  {
    printf 'grant_type=urn%%3Aietf%%3Aparams%%3Aoauth%%3Agrant-type%%3Atoken-exchange'
    printf '&subject_token_type=urn%%3Aietf%%3Aparams%%3Aoauth%%3Atoken-type%%3Aid_token'
    printf '&subject_token=%s' "$WAYLEAVE_ID_TOKEN"
    if [ -n "${WAYLEAVE_RUNNER_SVID:-}" ]; then # the runner's own JWT-SVID for the broker
      printf '&client_assertion_type=urn%%3Aietf%%3Aparams%%3Aoauth%%3Aclient-assertion-type%%3Ajwt-spiffe'
      printf '&client_assertion=%s' "$WAYLEAVE_RUNNER_SVID"
    fi
    targets_form "$@"
  } >"$folder/form"
  post_token
  [ "$code" = 200 ] || refused
  keep
  say "session $session opened  job #${CI_JOB_ID:-${BUILDKITE_JOB_ID:-?}}  roles $(printf '%s' "$roles" | sed 's/ /, /g')  until $(printf '%s' "$ends" | cut -c12-16)Z"
}

refresh() {
  idempotency_key=$(random)
  {
    printf 'grant_type=refresh_token&refresh_token=%s' "$(encode "$(kept refresh)")"
    targets_form "$@"
  } >"$folder/form"
  post_token
  [ "$code" = 200 ] || refused
  keep
}

# One command of the job at a time may open or renew; the folder `lock` is made by exactly one. One that died is passed over.
locked() {
  waited=0
  while ! mkdir "$folder/lock" 2>/dev/null; do
    waited=$((waited + 1))
    if [ "$waited" -gt 180 ]; then
      say 'a command of this job held the lock for three minutes; passing over it'
      rmdir "$folder/lock" 2>/dev/null || :
      waited=0
    fi
    sleep 1
  done
  trap 'rmdir "$folder/lock" 2>/dev/null || :' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  "$@"
  rmdir "$folder/lock"
  trap - EXIT INT TERM
}

# Leaves a token in $folder/token that is good for the targets and for a while.
ensure() {
  asked=$(printf '%s ' "$@" | sed 's/ *$//')
  if [ -f "$folder/token" ] && [ -f "$folder/fresh" ]; then
    read -r good_until good_for <"$folder/fresh" || :
    if [ "$good_for" = "$asked" ] && [ "$(date +%s)" -lt "$good_until" ]; then
      return 0
    fi
  fi
  if [ -n "$(kept refresh)" ]; then refresh "$@"; else exchange "$@"; fi
}

opened() {
  asked=$(printf '%s ' "$@" | sed 's/ *$//')
  if [ -n "$(kept refresh)" ]; then
    say "session $(kept session) is open already"
  else
    exchange "$@"
  fi
}

# curl with the token, which it reads from a 0600 file.
call() {
  address=$1
  shift
  case $address in
    https://* | http://127.0.0.1[:/]* | http://localhost[:/]*) ;;
    *) fail 2 "error  invalid_request: $address is not https; the token is not sent over plain HTTP." ;;
  esac
  locked ensure
  printf 'Authorization: Bearer %s\n' "$(cat "$folder/token")" >"$folder/header.$$"
  status=0
  curl -sS ${SSL_CERT_FILE:+--cacert "$SSL_CERT_FILE"} -H "@$folder/header.$$" -D "$folder/headers.$$" "$@" "$address" || status=$?
  tell_refusal "$folder/headers.$$"
  rm -f "$folder/header.$$" "$folder/headers.$$"
  return "$status"
}

# A gateway's refusal, as far as its headers say it; `wayleave explain` knows the rest.
tell_refusal() {
  [ -f "$1" ] || return 0
  tr -d '\r' <"$1" | tr -d '\000-\011\013-\037' | sed -n '
    s/^[Xx]-[Ww]ayleave-[Rr]eason: *//w '"$1.reason"'
    s/^[Xx]-[Ww]ayleave-[Rr]ecord: *//w '"$1.record"'
    s/^HTTP\/[0-9.]* \([0-9]*\).*/\1/w '"$1.status"'
  '
  case $(tail -n 1 "$1.status") in
    401 | 403)
      if [ -s "$1.record" ] || [ -s "$1.reason" ]; then
        say "denied  $(tail -n 1 "$1.reason")  $(tail -n 1 "$1.record")"
      fi
      ;;
  esac
  rm -f "$1.reason" "$1.record" "$1.status"
}

end() {
  session=$(kept session)
  if [ -z "$session" ]; then
    say 'this job has no session to end'
    return 0
  fi
  printf 'Authorization: Bearer %s\n' "$(kept refresh)" >"$folder/header"
  post /v1/session/end -H "@$folder/header" -H 'Content-Type: application/json' --data '{}'
  rm -f "$folder/header"
  case $code in
    2*) say "session $session ended" ;;
    4*) say "session $session was over already ($(field code))" ;;
    *) fail 5 "no answer  broker_unreachable: $url did not answer ($(why_not)). The session ends by webhook, poll or expiry." ;;
  esac
  rm -f "$folder/session" "$folder/token" "$folder/fresh" "$folder/answer" "$folder/curl"
}

# --- The command line ----------------------------------------------------------------------------------------------------

usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
  exchange | token | get | request | end) ;;
  help | --help | -h) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
find_folder
broker_url
case $command in
  exchange) locked opened "$@" ;;
  token) locked ensure "$@"; printf '%s\n' "$folder/token" ;;
  get)
    [ $# -gt 0 ] || fail 2 'error  invalid_request: get needs a URL.'
    address=$1
    shift
    call "$address" -G "$@"
    ;;
  request)
    [ $# -gt 0 ] || fail 2 'error  invalid_request: request needs a URL.'
    call "$@"
    ;;
  end) locked end ;;
esac
