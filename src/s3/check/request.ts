import http from "node:http";
import https from "node:https";
import { isIP } from "node:net";
import type { TLSSocket } from "node:tls";

import { LauncherError } from "../../errors.ts";
import { readNamedFile } from "../../named-file.ts";
import { orAbort, withEither } from "../../within.ts";
import { describe, type BucketLocation } from "../location.ts";
import { signedHeaders } from "../sign.ts";
import { Recorder, type Phase, type Trace } from "./trace.ts";
import { systemTrust } from "../http/trust.ts";

export interface Answer {
	readonly status: number;
	readonly headers: http.IncomingHttpHeaders;
	/** At most the first 64 KiB. */
	readonly body: string;
}

/** With what was seen on the way there. */
export type Outcome = { readonly trace: Trace } & (
	| { readonly kind: "answer"; readonly answer: Answer }
	| { readonly kind: "failure"; readonly phase: Phase; readonly error: NetworkError }
	| { readonly kind: "timeout"; readonly phase: Phase }
);

/** The fields that Node gives its errors; which of them there are depends on what failed. */
export interface NetworkError extends NodeJS.ErrnoException {
	readonly address?: string;
	readonly port?: number;
	readonly hostname?: string;
	/** Of a certificate that is for another name, or of a failed handshake. */
	readonly reason?: string;
	/** Of a name with several addresses: one for each. */
	readonly errors?: readonly NetworkError[];
}

const bodyLimitBytes = 64 * 1024;

interface RequestOptions {
	readonly signal: AbortSignal;
	readonly timeoutMs: number;
	readonly now: Date;
	readonly proxy: URL | undefined;
}

/**
 * Sends one GET, signed if there are credentials, over a connection of its own. Says how it ended, also when it did not
 * within `timeoutMs`; rejects only when the signal aborts or the CA bundle cannot be used.
 */
export async function request(url: URL, location: BucketLocation, options: RequestOptions): Promise<Outcome> {
	const { signal, timeoutMs, now, proxy } = options;
	const recorder = new Recorder();
	const deadline = AbortSignal.timeout(timeoutMs);
	let agent: http.Agent | undefined;
	try {
		const answer = await withEither([signal, deadline], async (abort) => {
			agent = await orAbort(createAgent(url, location, proxy), abort);
			const headers = await orAbort(createHeaders(url, location, now), abort);
			recorder.enter(firstPhase(url, proxy));
			return orAbort(send(url, { agent, headers, signal: abort }, recorder), abort);
		});
		return { kind: "answer", answer, trace: recorder.end() };
	} catch (error) {
		signal.throwIfAborted();
		const { phase } = recorder;
		if (deadline.aborted) return { kind: "timeout", phase, trace: recorder.end() };
		if (phase === "prepare" || !(error instanceof Error)) throw error;
		return { kind: "failure", phase, error, trace: recorder.end() };
	} finally {
		agent?.destroy();
	}
}

function firstPhase(url: URL, proxy: URL | undefined): Phase {
	// Node shows nothing of what happens until the tunnel is up.
	const isTunnel = url.protocol === "https:" && proxy !== undefined;
	const { hostname } = proxy ?? url;
	return isTunnel || isIP(hostname.replaceAll(/[[\]]/g, "")) !== 0 ? "connect" : "lookup";
}

async function send(url: URL, options: http.RequestOptions, recorder: Recorder): Promise<Answer> {
	const isTls = url.protocol === "https:";
	const connected = () => recorder.enter(isTls ? "tls" : "answer");
	const sent = (isTls ? https : http).request(url, options);
	const answered = Promise.withResolvers<http.IncomingMessage>();
	sent.on("error", answered.reject);
	sent.on("response", answered.resolve);
	sent.on("socket", (socket) => {
		// Through a proxy the socket comes when its tunnel is up.
		if (!socket.connecting) connected();
		socket.on("lookup", () => recorder.enter("connect"));
		socket.on("connect", () => {
			recorder.peer(socket);
			connected();
		});
		socket.on("secureConnect", () => {
			recorder.handshake(socket as TLSSocket);
			recorder.enter("answer");
		});
	});
	sent.end();

	const response = await answered.promise;
	recorder.enter("body");
	const { statusCode = 0, headers } = response;
	return { status: statusCode, headers, body: await readStart(response) };
}

/** Leaving the loop early ends the connection, so that an endless body costs no more than its start. */
async function readStart(response: http.IncomingMessage): Promise<string> {
	const chunks: Buffer[] = [];
	let sizeBytes = 0;
	for await (const chunk of response as AsyncIterable<Buffer>) {
		chunks.push(chunk);
		sizeBytes += chunk.length;
		if (sizeBytes >= bodyLimitBytes) break;
	}
	return Buffer.concat(chunks).subarray(0, bodyLimitBytes).toString();
}

async function createHeaders(url: URL, location: BucketLocation, now: Date): Promise<Record<string, string>> {
	const headers = {
		// Written here because it is signed.
		host: url.host,
		"user-agent": "fluid-fuse",
		...(location.requesterPays === true && { "x-amz-request-payer": "requester" }),
	};
	const { region, credentials } = location;
	if (credentials === undefined) return headers;
	return signedHeaders(url, headers, { region, credentials, now });
}

async function createAgent(url: URL, location: BucketLocation, proxy: URL | undefined): Promise<http.Agent> {
	const { caBundle, insecureSkipVerify = false } = location;
	const proxyEnv = proxy === undefined ? undefined : { HTTP_PROXY: proxy.href, HTTPS_PROXY: proxy.href };
	if (url.protocol === "http:") return new http.Agent({ proxyEnv });
	return new https.Agent({
		proxyEnv,
		rejectUnauthorized: !insecureSkipVerify,
		...(caBundle === undefined ? { secureContext: systemTrust() } : { ca: await readBundle(caBundle, location) }),
	});
}

async function readBundle(file: string, location: BucketLocation): Promise<string> {
	const content = await readNamedFile(file).catch((cause: unknown) => {
		throw bundleFault(
			`the CA bundle ${file} ${cause instanceof Error ? cause.message : String(cause)}`,
			location,
			cause,
		);
	});
	const pem = content.toString();
	// Node takes any text, trusts nobody, and blames the server.
	if (!pem.includes("-----BEGIN CERTIFICATE-----")) {
		throw bundleFault(`there is no certificate in the CA bundle ${file}`, location);
	}
	return pem;
}

function bundleFault(problem: string, location: BucketLocation, cause?: unknown): LauncherError {
	const hint = "The option ca-bundle must name a PEM file with certificates, at its path in this container.";
	return new LauncherError("BACKEND_TLS", `${describe(location)}: ${problem}`, { hint, cause });
}
