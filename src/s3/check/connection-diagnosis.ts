import { isIP } from "node:net";

import { LauncherError, type ErrorCode } from "../../errors.ts";
import { describe, type BucketLocation } from "../location.ts";
import { printable } from "../printable.ts";
import type { NetworkError } from "./request.ts";
import type { Phase } from "./trace.ts";

export interface ConnectionContext {
	readonly location: BucketLocation;
	/** What was requested. */
	readonly url: URL;
	readonly proxy: URL | undefined;
}

/** What it means that the time was over in this phase. */
export function diagnoseTimeout(phase: Phase, timeoutMs: number, context: ConnectionContext): LauncherError {
	const { problem, hint } = explainHang(phase, context);
	const limit = timeoutMs < 1000 ? `${timeoutMs} ms` : `${Math.round(timeoutMs / 100) / 10} s`;
	return new LauncherError("BACKEND_TIMEOUT", `${describe(context.location)}: ${problem} within ${limit}`, { hint });
}

function explainHang(phase: Phase, { url, proxy }: ConnectionContext): { problem: string; hint: string } {
	const { host, protocol } = url;
	const overloaded = "The server is overloaded or frozen: look at its own health and logs.";
	switch (phase) {
		case "prepare":
			return { problem: "the request was not even ready", hint: "This node is overloaded, or its disk hangs." };
		case "lookup":
			return {
				problem: `the name lookup of ${(proxy ?? url).hostname} did not end`,
				hint: "Check the pod's DNS, and that its DNS server can be reached.",
			};
		case "connect":
			return {
				problem: `no connection to ${host} ${proxy === undefined ? "" : `through the proxy ${proxy.host} `}came about`,
				hint: "Something drops the packets: check the address, the firewall and the NetworkPolicy.",
			};
		case "tls":
			return {
				problem: `the TLS handshake with ${host} did not end`,
				hint: `${overloaded} If it speaks plain HTTP, write the endpoint with http://.`,
			};
		case "answer":
			return {
				problem: `${host} took the request and did not answer`,
				hint: protocol === "https:" ? overloaded : `${overloaded} If it speaks TLS, write the endpoint with https://.`,
			};
		case "body":
			return { problem: `${host} began to answer and did not end`, hint: overloaded };
		default:
			return phase satisfies never;
	}
}

/** What an error of the name lookup, the socket, TLS or the HTTP parser means. */
export function diagnoseFailure(error: NetworkError, phase: Phase, context: ConnectionContext): LauncherError {
	const { code, problem, hint } = explainCertificate(error, context) ?? explainFailure(error, phase, context);
	return new LauncherError(code, `${describe(context.location)}: ${problem}`, { hint, cause: withoutPayload(error) });
}

interface Finding {
	readonly code: ErrorCode;
	readonly problem: string;
	readonly hint: string;
}

function explainCertificate(error: NetworkError, { location, url }: ConnectionContext): Finding | undefined {
	const code = "BACKEND_TLS";
	const trust =
		location.caBundle === undefined
			? "Name a PEM file with the certificate authority that signed it in the option ca-bundle."
			: `Put the certificate authority that signed it into the CA bundle ${location.caBundle}.`;
	switch (error.code ?? "") {
		case "DEPTH_ZERO_SELF_SIGNED_CERT":
			return { code, problem: `the certificate of ${url.host} is self-signed`, hint: trust };
		case "SELF_SIGNED_CERT_IN_CHAIN":
		case "UNABLE_TO_GET_ISSUER_CERT":
		case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
		case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
			return { code, problem: `the certificate of ${url.host} is signed by an unknown authority`, hint: trust };
		case "CERT_HAS_EXPIRED":
			return {
				code,
				problem: `the certificate of ${url.host}, or of an authority above it, has expired`,
				hint: "Renew it on the server, and check this node's clock. The option ca-bundle does not help against it.",
			};
		case "CERT_NOT_YET_VALID":
			return {
				code,
				problem: `the certificate of ${url.host} is not valid yet`,
				hint: "Check this node's clock, and the server's certificate.",
			};
		case "ERR_TLS_CERT_ALTNAME_INVALID":
		case "HOSTNAME_MISMATCH":
			return {
				code,
				problem: `the certificate is not for ${url.hostname}${error.reason ? ` (${printable(error.reason, 200)})` : ""}`,
				hint: location.pathStyle
					? "Use a name that the certificate has as endpoint, or give the server a certificate for this one."
					: "Set the option path-style if the certificate is for the endpoint without the bucket's name.",
			};
		default:
			if (!/^(CERT|CRL|INVALID_|UNABLE_TO_|PATH_LENGTH_)/.test(error.code ?? "")) return undefined;
			return {
				code,
				problem: `the certificate of ${url.host} is not accepted (${error.code})`,
				hint: "Have the server's certificate checked and renewed.",
			};
	}
}

function explainFailure(error: NetworkError, phase: Phase, context: ConnectionContext): Finding {
	const { location, url } = context;
	const code = error.code ?? "no code";
	if (error.syscall === "getaddrinfo") {
		const name = printable(error.hostname ?? url.hostname, 253);
		return {
			code: "BACKEND_DNS",
			problem: `the name ${name} cannot be resolved (${code})`,
			hint: `Check ${location.endpoint === undefined ? "the region" : "the endpoint"} and the pod's DNS${location.pathStyle ? "." : "; set path-style if the server has no DNS name for each bucket."}`,
		};
	}
	if (code.startsWith("HPE_") || isNotTls(error)) return explainStranger(url);
	if (/^(EPROTO$|ERR_SSL_|ERR_TLS_)/.test(code)) {
		return {
			code: "BACKEND_TLS",
			problem: `the TLS handshake with ${url.host} fails (${openSslReason(error)})`,
			hint: "Check the TLS versions of the server, and whether it wants a client's certificate. Fix the server: the option ca-bundle helps only against an untrusted certificate.",
		};
	}
	if (code === "ETIMEDOUT") return { code: "BACKEND_TIMEOUT", ...explainHang("connect", context) };
	if (code.startsWith("ERR_PROXY_")) {
		return {
			code: "BACKEND_REFUSED",
			problem: `the proxy makes no connection to ${url.host}`,
			hint: "Check HTTPS_PROXY and the proxy's rules, or put the endpoint into NO_PROXY.",
		};
	}
	const { address, port } = error.errors?.[0] ?? error;
	const peer = address === undefined ? url.host : `${isIP(address) === 6 ? `[${address}]` : address}:${port}`;
	switch (phase) {
		case "body":
			return {
				code: "BACKEND_FAILING",
				problem: `${peer} broke off its answer (${code})`,
				hint: "Look at the server's own health and logs; it is tried again.",
			};
		case "answer":
			return {
				code: "BACKEND_REFUSED",
				problem: `${peer} closed the connection without an answer (${code})`,
				hint: `Look at the server's own health and logs.${url.protocol === "http:" ? " If it speaks TLS, write the endpoint with https://." : ""}`,
			};
		case "tls":
			return {
				code: "BACKEND_REFUSED",
				problem: `${peer} closed the connection during the TLS handshake (${code})`,
				hint: "Look at the server's own health and logs. If it speaks plain HTTP, write the endpoint with http://.",
			};
		case "prepare":
		case "lookup":
		case "connect":
			return {
				code: "BACKEND_REFUSED",
				problem: `no connection to ${peer} (${code})`,
				hint: "Check the endpoint's host and port, that the server runs, and the NetworkPolicy.",
			};
		default:
			return phase satisfies never;
	}
}

/** What answers does not speak the protocol that the endpoint's scheme says. */
function explainStranger(url: URL): Finding {
	return url.protocol === "https:"
		? {
				code: "ENDPOINT_WRONG",
				problem: `${url.host} does not speak TLS, but the endpoint says https`,
				hint: "Write the endpoint with http://, or correct its port.",
			}
		: {
				code: "ENDPOINT_WRONG",
				problem: `${url.host} does not speak HTTP`,
				hint: "Correct the endpoint's port; if the server speaks TLS, write the endpoint with https://.",
			};
}

/** OpenSSL found something else where TLS begins. */
function isNotTls({ message }: NetworkError): boolean {
	return /wrong version number|packet length too long|http request/i.test(message);
}

/** The readable part of `…:error:0A000410:SSL routines:ssl3_read_bytes:sslv3 alert handshake failure:…`. */
function openSslReason({ message, reason, code = "no code" }: NetworkError): string {
	return printable(reason ?? /:SSL routines:[^:]*:([^:]+):/.exec(message)?.[1] ?? code, 100);
}

/** Node hangs the server's bytes and certificate on its errors, and a logger would print them all. */
function withoutPayload(error: NetworkError): unknown {
	return "rawPacket" in error || "cert" in error ? undefined : error;
}
