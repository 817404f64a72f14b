#!/bin/sh
# Proves an endpoint in CI and says who must act: exit 1 stops the pipeline, 75 asks for a retry.
#
#   WSPROOF="deno task -q client" sh examples/ci_check.sh wss://staging.example/socket
set -u
url=${1:?usage: ci_check.sh URL}

# One ping, and any text that begins with "pong": change these two for your own server.
${WSPROOF:-wsproof} --message "${MESSAGE:-ping}" --reply-match "${REPLY:-^pong}" \
  --connect-timeout 5 --reply-timeout 5 --close-timeout 5 "$url"
code=$?

case $code in
  0) echo "proven: deploy" ;;
  2) echo "the check itself is wrong: mend this script" && exit 1 ;;
  3 | 7) echo "the network or the server is down: try again" && exit 75 ;;
  4) echo "the server refuses the upgrade: look at its configuration" && exit 1 ;;
  5 | 6) echo "the server answers wrongly or late: do not deploy" && exit 1 ;;
  8) echo "the server does not close properly: do not deploy" && exit 1 ;;
  *) echo "wsproof itself failed with exit code $code" && exit 1 ;;
esac
