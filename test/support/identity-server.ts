import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import { text } from "node:stream/consumers";
import { listen } from "./listen.ts";
import type { TemporaryCredentials } from "./minio.ts";

/** What it hands out next. */
export interface HandedOut {
	readonly keys: TemporaryCredentials;
	/** From the moment of the answer on. */
	readonly lifeMs: number;
}

/** What gives pods their keys at Amazon, as far as the pod sees it: instance metadata, container endpoint and STS in one server. */
export interface IdentityServer {
	readonly endpoint: string;
	/** Each request that was understood, such as `GET /container`. */
	readonly requests: readonly string[];
	/** Web identity tokens that STS was shown. */
	readonly tokens: readonly string[];
	/** Keys that were handed out. */
	readonly handedOut: readonly TemporaryCredentials[];
	/** Undefined: keys are handed out again. Otherwise every answer is this. */
	fail(answer: { readonly status: number; readonly body?: string } | "silence" | undefined): void;
	stop(): Promise<void>;
}

export interface IdentityServerOptions {
	readonly give: () => HandedOut | Promise<HandedOut>;
	/** What the container endpoint wants to see. */
	readonly authorization?: () => string;
	/** PEM texts, to serve https. */
	readonly tls?: { readonly key: string; readonly cert: string };
}

const metadataToken = "a-metadata-session-token";
const metadataRole = "a-node-role";

/** Real HTTP on a free port of 127.0.0.1. */
export async function startIdentityServer({
	give,
	authorization,
	tls,
}: IdentityServerOptions): Promise<IdentityServer> {
	const requests: string[] = [];
	const tokens: string[] = [];
	const handedOut: TemporaryCredentials[] = [];
	let failure: Parameters<IdentityServer["fail"]>[0];

	const next = async (): Promise<{ keys: TemporaryCredentials; expiration: string }> => {
		const { keys, lifeMs } = await give();
		handedOut.push(keys);
		return { keys, expiration: new Date(Date.now() + lifeMs).toISOString() };
	};
	const json = async (): Promise<string> => {
		const { keys, expiration } = await next();
		return JSON.stringify({
			Code: "Success",
			Type: "AWS-HMAC",
			AccessKeyId: keys.accessKeyId,
			SecretAccessKey: keys.secretAccessKey,
			Token: keys.sessionToken,
			Expiration: expiration,
		});
	};

	async function answer(incoming: http.IncomingMessage): Promise<{ status: number; body: string }> {
		const { method = "", url: asked = "", headers } = incoming;
		// With its host when this is taken for a proxy.
		const url = asked.replace(/^http:\/\/[^/]+/, "");
		const body = await text(incoming);
		requests.push(`${method} ${asked}`);
		if (failure === "silence") return new Promise(() => undefined);
		if (failure !== undefined) return { body: "", ...failure };
		if (method === "PUT" && url === "/latest/api/token") {
			const hasLife = headers["x-aws-ec2-metadata-token-ttl-seconds"] !== undefined;
			return hasLife ? { status: 200, body: metadataToken } : { status: 400, body: "" };
		}
		if (url.startsWith("/latest/meta-data/iam/security-credentials/")) {
			// Version 2 only.
			if (headers["x-aws-ec2-metadata-token"] !== metadataToken) return { status: 401, body: "" };
			const role = url.slice("/latest/meta-data/iam/security-credentials/".length);
			if (role === "") return { status: 200, body: metadataRole };
			return role === metadataRole ? { status: 200, body: await json() } : { status: 404, body: "" };
		}
		if (method === "GET" && url === "/container") {
			if (authorization !== undefined && headers.authorization !== authorization())
				return { status: 401, body: JSON.stringify({ Code: "InvalidAuthorizationToken" }) };
			return { status: 200, body: await json() };
		}
		if (method === "POST" && url === "/") {
			const form = new URLSearchParams(body);
			if (form.get("Action") !== "AssumeRoleWithWebIdentity") return { status: 400, body: "" };
			tokens.push(form.get("WebIdentityToken") ?? "");
			const { keys, expiration } = await next();
			return { status: 200, body: assumedRole(keys, expiration) };
		}
		return { status: 404, body: "" };
	}

	const reply = (incoming: http.IncomingMessage, outgoing: http.ServerResponse): void => {
		void answer(incoming).then(({ status, body }) => {
			const type = body.startsWith("<") ? "text/xml" : body.startsWith("{") ? "application/json" : "text/plain";
			outgoing.writeHead(status, { "content-type": type }).end(body);
		});
	};
	const server = tls === undefined ? http.createServer(reply) : https.createServer(tls, reply);
	const port = await listen(server);
	return {
		endpoint: tls === undefined ? `http://127.0.0.1:${port}` : `https://localhost:${port}`,
		requests,
		tokens,
		handedOut,
		fail(answer) {
			failure = answer;
		},
		async stop() {
			if (!server.listening) return;
			server.closeAllConnections();
			server.close();
			await once(server, "close");
		},
	};
}

function assumedRole({ accessKeyId, secretAccessKey, sessionToken }: TemporaryCredentials, expiration: string): string {
	return `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/reader/pod</Arn><AssumedRoleId>ID:pod</AssumedRoleId></AssumedRoleUser>
<Credentials><AccessKeyId>${accessKeyId}</AccessKeyId><SecretAccessKey>${secretAccessKey}</SecretAccessKey>
<SessionToken>${sessionToken}</SessionToken><Expiration>${expiration}</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>`;
}

export const stsRefusal = (code: string, message: string): { readonly status: number; readonly body: string } => ({
	status: code === "AccessDenied" ? 403 : 400,
	body: `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error><RequestId>1</RequestId></ErrorResponse>`,
});
