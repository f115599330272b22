import { once } from "node:events";
import http from "node:http";
import { buffer } from "node:stream/consumers";
import { listen } from "./listen.ts";

export interface Told {
	readonly method: string;
	/** Path and query. */
	readonly url: string;
	/** By their names in lower case. */
	readonly headers: http.IncomingHttpHeaders;
	readonly body: Buffer;
}

export interface TruthOrLie {
	readonly status: number;
	readonly headers: Readonly<Record<string, string | undefined>>;
	readonly body: string;
}

/** How a server that is not quite S3 differs. Each is asked about each request, in order. */
export interface Manner {
	/** In place of the real server. */
	readonly refuses?: (request: Told) => Partial<TruthOrLie> | undefined;
	/** What the real server never hears of; signatures do not fit any more. */
	readonly drops?: (request: Told) => readonly string[];
	/** Changes what the real server has answered. */
	readonly tells?: (request: Told, truth: TruthOrLie) => Partial<TruthOrLie> | undefined;
}

export interface LyingProxy {
	readonly endpoint: string;
	/** All that it was asked, since its manners are these. */
	readonly requests: readonly Told[];
	manners(...manners: readonly Manner[]): void;
	stop(): Promise<void>;
}

/** A server in front of a real one, which does what that does and answers otherwise. */
export async function startLyingProxy(targetUrl: string): Promise<LyingProxy> {
	const agent = new http.Agent({ keepAlive: false });
	let manners: readonly Manner[] = [];
	let requests: Told[] = [];

	const askServer = async (request: Told, rawHeaders: readonly string[]): Promise<[http.IncomingMessage, Buffer]> => {
		const dropped = new Set(["connection", "expect", ...manners.flatMap(({ drops }) => drops?.(request) ?? [])]);
		const headers = rawHeaders.filter(
			(_, index) => !dropped.has((rawHeaders[index - (index % 2)] ?? "").toLowerCase()),
		);
		const { method, url } = request;
		const upstream = http.request(new URL(url, targetUrl), { agent, method, path: url, headers, setHost: false });
		// A server may answer before it has read all, and close then: its answer counts.
		upstream.on("error", () => undefined);
		upstream.end(request.body);
		const [answer] = (await once(upstream, "response")) as [http.IncomingMessage];
		return [answer, await buffer(answer)];
	};

	const answer = async (incoming: http.IncomingMessage, outgoing: http.ServerResponse): Promise<void> => {
		const { method = "", url = "", headers } = incoming;
		const request = { method, url, headers, body: await buffer(incoming) };
		requests.push(request);
		for (const { refuses } of manners) {
			const refusal = refuses?.(request);
			if (refusal === undefined) continue;
			const { status = 400, body = "" } = refusal;
			outgoing.writeHead(status, { "x-amz-request-id": "1", ...definedOf(refusal.headers) }).end(body);
			return;
		}
		const [truth, bytes] = await askServer(request, incoming.rawHeaders);
		const truthful = { ...truth.headers } as Record<string, string | undefined>;
		const present = { status: truth.statusCode ?? 502, headers: truthful, body: bytes.toString("latin1") };
		for (const { tells } of manners) {
			const { headers: told, ...lie } = tells?.(request, present) ?? {};
			Object.assign(present, lie);
			Object.assign(present.headers, told);
		}
		const body = Buffer.from(present.body, "latin1");
		const length = method === "HEAD" ? present.headers["content-length"] : String(body.length);
		const kept = definedOf({ ...present.headers, "content-length": length, connection: undefined });
		outgoing.writeHead(present.status, kept).end(method === "HEAD" ? undefined : body);
	};

	const server = http.createServer((incoming, outgoing) => {
		answer(incoming, outgoing).catch((error: unknown) => outgoing.destroy(error as Error));
	});
	const port = await listen(server);
	return {
		endpoint: `http://127.0.0.1:${port}`,
		get requests() {
			return requests;
		},
		manners(...given) {
			manners = given;
			requests = [];
		},
		async stop() {
			server.closeAllConnections();
			server.close();
			await once(server, "close");
		},
	};
}

function definedOf(headers: Readonly<Record<string, string | undefined>> = {}): Record<string, string> {
	return Object.fromEntries(
		Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined),
	);
}
