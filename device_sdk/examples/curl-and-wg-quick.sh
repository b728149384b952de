#!/bin/sh
# A whole client of Sinfonia in the shortest form, to be read by those who write one in another language:
#   curl-and-wg-quick.sh ROOT APP URL        curl-and-wg-quick.sh https://root.example.org \
#                                            00000000-0000-0000-0000-000000000000 http://helloworld/
# A key, one call, a tunnel, and the backend is there by name. Needs root rights, curl, jq, wireguard-tools and
# resolvconf(8); without WireGuard in the kernel, wireguard-go.
set -eu
[ $# -eq 3 ] || { echo "usage: $0 ROOT APP URL" >&2; exit 2; }
root=${1%/} app=$2 url=$3
umask 077
folder=$(mktemp -d)
tunnel=$folder/sinfonia0.conf
trap 'wg-quick down "$tunnel" 2>/dev/null || true; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

# 1. A key of this app on this device; its public half names the device, URL-safe and without padding.
PRIVATE=$(wg genkey)
export PRIVATE
public=$(echo "$PRIVATE" | wg pubkey | tr '+/' '-_' | tr -d '=\n')

# 2. One call deploys the backend, or finds it again. What goes wrong is said in the answer's "detail".
curl -sS --max-time 30 --fail-with-body -X POST "$root/api/v1/deploy/$app/$public" -o "$folder/answer" || {
  jq -r '.detail // empty' "$folder/answer" >&2 || true
  exit 1
}

# 3. The answer is the tunnel. wg-quick runs commands that it finds in its file, and the answer is somebody
#    else's: so every word is looked at, and nothing becomes the way to everywhere.
jq -r '
  def words: map(if test("^[0-9A-Za-z.:/_+=\\[\\]-]+$") then . else error("a bad word in the answer") end);
  def routes: words | map(if test("/[0-7]$") then error("a route to everywhere") else . end);
  .[0].TunnelConfig |
  "[Interface]", "PrivateKey = \(env.PRIVATE)",
  "Address = \(.address | words | join(", "))", "DNS = \(.dns | words | join(", "))", "MTU = 1420",
  "[Peer]", "PublicKey = \([.publicKey] | words[0])", "Endpoint = \([.endpoint] | words[0])",
  "AllowedIPs = \(.allowedIPs | routes | join(", "))", "PersistentKeepalive = 25"
' "$folder/answer" >"$tunnel"
wg-quick up "$tunnel"

# 4. The backend may still be starting: some tries.
curl -sS --fail --max-time 10 --retry 30 --retry-delay 1 --retry-all-errors --retry-max-time 60 "$url"
