import { expect, it } from "vitest";
import { LauncherError } from "../../src/errors.ts";
import { formatListenAddress, parseListenAddress } from "../../src/probe/listen-address.ts";
import type { ListenAddress } from "../../src/probe/listen-address.ts";

const valid: [string, ListenAddress][] = [
	[":9180", { kind: "tcp", port: 9180 }],
	["127.0.0.1:9180", { kind: "tcp", host: "127.0.0.1", port: 9180 }],
	["0.0.0.0:0", { kind: "tcp", host: "0.0.0.0", port: 0 }],
	["[::1]:9180", { kind: "tcp", host: "::1", port: 9180 }],
	["[::]:65535", { kind: "tcp", host: "::", port: 65_535 }],
	["unix:/run/probe.sock", { kind: "unix", path: "/run/probe.sock" }],
	["off", { kind: "off" }],
];

it.each(valid)("understands %s", (text, address) => {
	expect(parseListenAddress(text)).toEqual(address);
	expect(formatListenAddress(address)).toBe(text);
});

const invalid: [string, string][] = [
	["", "expected a port"],
	["9180", 'did you mean ":9180"?'],
	["on", "expected a port"],
	[":", "expected a port from 0 to 65535"],
	[":65536", "expected a port from 0 to 65535"],
	[":-1", "expected a port from 0 to 65535"],
	[":http", "expected a port from 0 to 65535"],
	["::1", "an IPv6 address needs brackets"],
	["::1:9180", "an IPv6 address needs brackets"],
	["[127.0.0.1]:9180", "expected an IP address"],
	["localhost:9180", "expected an IP address, not a name"],
	["http://127.0.0.1:9180", "expected an IP address"],
	["unix:probe.sock", "expected an absolute path"],
	["unix:/run/", "expected an absolute path"],
	[`unix:/${"x".repeat(107)}`, "at most 107 bytes"],
];

it.each(invalid)("refuses %j and says why", (text, why) => {
	expect(() => parseListenAddress(text)).toThrow(
		expect.toSatisfy(
			(error) =>
				error instanceof LauncherError &&
				error.code === "USAGE" &&
				error.message.includes(why) &&
				error.hint !== undefined,
		),
	);
});
