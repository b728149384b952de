#!/bin/busybox sh
# The page: busybox httpd runs cgi-bin/index.cgi for a folder that has no index.html.
printf 'Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n\r\n'
printf '<!doctype html>\n<title>Sinfonia</title>\n'
printf '<h1>%s from %s</h1>\n' "${GREETING:-Hello}" "${CLOUDLET:-a cloudlet}"
printf '<p>This backend (%s) was started for your device alone.</p>\n' "$(/bin/busybox hostname)"
