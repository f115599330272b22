import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { withEither } from "../within.ts";

export interface LauncherRequest {
	/** For the whole exchange. */
	readonly timeoutMs?: number;
	/** Default: GET. */
	readonly method?: "GET" | "POST";
	readonly signal?: AbortSignal;
}

export type LauncherAnswer =
	| { readonly kind: "answer"; readonly statusCode: number; readonly body: string }
	/** `reason` is a sentence for a person. */
	| { readonly kind: "unreachable"; readonly reason: string };

const maxBodyBytes = 16 * 1024 * 1024;

/** The launcher's own socket: there in every pod, whatever else is configured. */
export function launcherSocket(runDirectory: string): string {
	return join(runDirectory, "launcher.sock");
}

/** Asks the launcher of this container. Rejects only with the reason of `signal`. */
export async function requestLauncher(
	runDirectory: string,
	path: string,
	{ timeoutMs = 2000, method = "GET", signal }: LauncherRequest = {},
): Promise<LauncherAnswer> {
	const socketPath = launcherSocket(runDirectory);
	const deadline = AbortSignal.timeout(timeoutMs);
	try {
		return await withEither([deadline, signal], async (either) => exchange(socketPath, method, path, either));
	} catch (thrown) {
		signal?.throwIfAborted();
		if (deadline.aborted)
			return {
				kind: "unreachable",
				reason: `the launcher on ${socketPath} did not answer within ${timeoutMs / 1000} s`,
			};
		return { kind: "unreachable", reason: `no launcher answers on ${socketPath}: ${explain(thrown)}` };
	}
}

/** What the launcher tells, line by line, until the signal is aborted or it ends. Returns why there is nothing to tell. */
export async function followLauncher(
	runDirectory: string,
	path: string,
	onLine: (line: string) => void,
	signal: AbortSignal,
): Promise<string | undefined> {
	const socketPath = launcherSocket(runDirectory);
	try {
		const response = await answerTo(socketPath, "POST", path, signal);
		if (response.statusCode !== 200) return `the launcher answers ${response.statusCode} to ${path.split("?")[0]}`;
		for await (const line of createInterface({ input: response, crlfDelay: Infinity })) onLine(line);
		return signal.aborted ? undefined : "the launcher has ended";
	} catch (thrown) {
		return signal.aborted ? undefined : `no launcher answers on ${socketPath}: ${explain(thrown)}`;
	}
}

async function answerTo(
	socketPath: string,
	method: string,
	path: string,
	signal: AbortSignal,
): Promise<IncomingMessage> {
	return new Promise((resolve, reject) => {
		request({ socketPath, method, path, signal, agent: false, headers: { host: "launcher" } }, resolve)
			.on("error", reject)
			.end();
	});
}

async function exchange(
	socketPath: string,
	method: string,
	path: string,
	signal: AbortSignal,
): Promise<LauncherAnswer> {
	const response = await answerTo(socketPath, method, path, signal);
	const parts: Buffer[] = [];
	let sizeBytes = 0;
	for await (const part of response as AsyncIterable<Buffer>) {
		sizeBytes += part.length;
		if (sizeBytes > maxBodyBytes) throw new Error(`the answer has more than ${maxBodyBytes} bytes`);
		parts.push(part);
	}
	return { kind: "answer", statusCode: response.statusCode ?? 0, body: Buffer.concat(parts).toString() };
}

function explain(thrown: unknown): string {
	if (!(thrown instanceof Error)) return String(thrown);
	switch ("code" in thrown ? thrown.code : undefined) {
		case "ENOENT":
		case "ENOTDIR":
			return "the socket does not exist (is the launcher running, and does it use this FLUID_FUSE_RUN_DIR?)";
		case "ECONNREFUSED":
			return "nobody listens on it (the launcher has ended)";
		case "EACCES":
		case "EPERM":
			return "this user may not open it";
		case "ECONNRESET":
		case "EPIPE":
			return "it closed the connection without an answer";
		default:
			return thrown.message;
	}
}
