import { isIP } from "node:net";
import { LauncherError } from "../errors.ts";

/** Where HTTP probes are answered. No host means every interface, IPv4 and IPv6. */
export type ListenAddress =
	| { readonly kind: "off" }
	| { readonly kind: "tcp"; readonly host?: string; readonly port: number }
	| { readonly kind: "unix"; readonly path: string };

/** The kernel's sun_path holds 108 bytes, the last of them a NUL. */
export const maxSocketPathBytes = 107;

const hint = "Use :9180, 127.0.0.1:9180, [::1]:9180, unix:/path/to/socket or off.";

/** Reads `:9180`, `127.0.0.1:9180`, `[::1]:9180`, `unix:/path` or `off`; anything else is USAGE. */
export function parseListenAddress(text: string): ListenAddress {
	if (text === "off") return { kind: "off" };
	if (text.startsWith("unix:")) return { kind: "unix", path: parseSocketPath(text.slice("unix:".length), text) };

	const colon = text.lastIndexOf(":");
	if (colon === -1)
		throw refused(
			text,
			/^\d+$/.test(text) ? `expected a colon before the port (did you mean ":${text}"?)` : "expected a port",
		);
	const port = parsePort(text.slice(colon + 1), text);
	const host = parseHost(text.slice(0, colon), text);
	return host === "" ? { kind: "tcp", port } : { kind: "tcp", host, port };
}

/** The address as a person would type it. */
export function formatListenAddress(address: ListenAddress): string {
	switch (address.kind) {
		case "off":
			return "off";
		case "unix":
			return `unix:${address.path}`;
		case "tcp":
			return `${address.host?.includes(":") ? `[${address.host}]` : (address.host ?? "")}:${address.port}`;
		default:
			return address satisfies never;
	}
}

function parseSocketPath(path: string, text: string): string {
	if (!path.startsWith("/") || path.endsWith("/") || path.includes("\0"))
		throw refused(text, "expected an absolute path after unix:");
	if (Buffer.byteLength(path) > maxSocketPathBytes)
		throw refused(text, `a socket's path has at most ${maxSocketPathBytes} bytes`);
	return path;
}

function parsePort(digits: string, text: string): number {
	const port = /^\d{1,5}$/.test(digits) ? Number(digits) : Number.NaN;
	if (!(port <= 65_535)) throw refused(text, "expected a port from 0 to 65535 after the colon");
	return port;
}

function parseHost(host: string, text: string): string {
	if (host === "") return "";
	if (host.startsWith("[") && host.endsWith("]") && isIP(host.slice(1, -1)) === 6) return host.slice(1, -1);
	if (isIP(host) === 4) return host;
	if (isIP(host) === 6 || isIP(text) === 6) throw refused(text, "an IPv6 address needs brackets");
	// A name would have to be resolved, and a resolver that hangs would keep the launcher from starting.
	throw refused(text, "expected an IP address, not a name");
}

function refused(text: string, why: string): LauncherError {
	return new LauncherError("USAGE", `probe address ${JSON.stringify(text)}: ${why}`, { hint });
}
