#!/bin/sh
# Stands where a program is, and ends with the code that its arguments name: a number, or a bucket's prefix that is one.
for argument; do
	case $argument in
	bucket:*) code=${argument#bucket:} && code=${code%/} ;;
	*[!0-9]*) ;;
	*) code=$argument ;;
	esac
done
exit "${code:-70}"
