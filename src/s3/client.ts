import { LauncherError } from "../errors.ts";
import { bucketAddress, encodeKey, encodeQuery, type BucketAddress } from "./bucket-address.ts";
import { shareBytes } from "./http/answer-room.ts";
import { Concurrency, type Priority } from "./http/concurrency.ts";
import { ExchangeError, type Answer, type Connection, type Exchange, type SentBody } from "./http/connection.ts";
import { Dialer, proxyAuthorization } from "./http/dialer.ts";
import { S3Error, type ObjectStoreOptions, type S3ErrorKind, type StaticCredentials } from "./object-store.ts";
import { Pool } from "./http/pool.ts";
import { proxyFor } from "./http/proxy.ts";
import { backoffMs, RetryPace } from "./retry-pace.ts";
import { signCanonical } from "./sign.ts";
import { describePlace, judgeAnswer, judgeFailure, type Verdict } from "./verdict.ts";
import { orAbort } from "../within.ts";

export type RequestHeaders = Readonly<Record<string, string>>;

/** One request, as often as it takes. */
export interface Call {
	/** S3's name for it, such as GetObject. */
	readonly operation: string;
	readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
	/** Undefined: the bucket itself. */
	readonly key?: string;
	readonly query?: Readonly<Record<string, string>>;
	/** Names in lower case. Asked for before each try. */
	readonly headers?: () => RequestHeaders;
	readonly body?: SentBody;
	/** SHA-256 of the body in hex, if it is signed. */
	readonly bodyHash?: string;
	readonly accept?: Exchange["accept"];
	/** The most that its answer may have, if it is collected. Default: 1 MiB. */
	readonly maximumAnswerBytes?: number;
	readonly onProgress?: Exchange["onProgress"];
	/** Bytes that all tries have brought so far: more of them begin the time for retries anew. */
	readonly progress?: () => number;
	/** What is wrong with an answer of a successful status; undefined: nothing. */
	readonly check?: (answer: Answer) => string | undefined;
	readonly priority: Priority;
	/** What a condition that does not hold means. Default: OBJECT_REPLACED. */
	readonly preconditionMeans?: S3ErrorKind;
	/** What it means that the server fails again and again in the same words. Default: that it may pass. */
	readonly repeatedFailureMeans?: S3ErrorKind | undefined;
	/** So many bytes the server has to copy before it answers, which takes longer, and during which it may keep the answer open with white space. */
	readonly workBytes?: number;
	/** Not over a connection that nobody has used for so long, in milliseconds; 0: over a new one. */
	readonly maximumIdleMs?: number;
	readonly signal?: AbortSignal | undefined;
	/** Told before a request may be carried out whose answer does not arrive. */
	readonly onDoubt?: () => void;
}

interface Site {
	readonly address: BucketAddress;
	readonly pool: Pool;
	/** Before the path in the request line: what an HTTP proxy needs. */
	readonly absolute: string;
	/** Headers for that proxy. */
	readonly proxyLines: string;
}

/** What earlier tries of one call have left to know. */
interface Tries {
	retries: number;
	/** Since when nothing went forward. */
	failingSince: number | undefined;
	progress: number;
	isFresh: boolean;
	staleConnections: number;
	/** The connection broke without an answer to a body: the server may have had something to say about its headers. */
	asksBeforeBody: boolean;
	/** How often, and with what, the server has failed in the same words. */
	sameFailures: number;
	lastFailure: string;
	/** Answers that nobody understood. */
	oddAnswers: number;
	hasCorrectedClock: boolean;
	regions: number;
	/** When keys were refused for the first time, and the last of them. */
	refusedSince: number | undefined;
	refused: StaticCredentials | undefined;
}

interface Outcome {
	readonly verdict: Verdict;
	readonly answer?: Answer;
	readonly credentials: StaticCredentials | undefined;
	/** When a byte went either way for the last time. */
	readonly lastByteAt: number;
	/** The connection failed, not the server. */
	readonly failure?: ExchangeError;
}

/** A request that is being tried. */
interface Attempt {
	readonly call: Call;
	readonly site: Site;
	readonly credentials: StaticCredentials | undefined;
	readonly clockOffsetMs: number;
}

/** While keys are changed, there may be a moment when the server knows neither the old nor the new ones. */
const rotationMs = 5000;
const rotationBaseMs = 200;
/** Of each connection that a server closed while it was idle, a request notices only one. */
const maximumStaleConnections = 4;
const maximumRegions = 2;
const maximumOddAnswers = 3;
const maximumSameFailures = 3;
/** A server that copies or puts together works for a while before it answers. */
const workPatience = 4;
/** And it may keep its answer open for so many times the limit of silence, and a second more for each MiB. */
const workTimes = 20;
const slowestWorkBytesPerMs = 1024 ** 2 / 1000;
/** Less than that is no sign that it will go on. */
const noticeableProgressBytes = 64 * 1024;

const headerText = /^[\u0020-\u007e\u0080-\uffff]*$/;

/** Signs, sends and retries requests to one bucket. */
export class Client {
	readonly #options: ObjectStoreOptions;
	readonly #concurrency: Concurrency;
	readonly #pace = new RetryPace();
	readonly #retryForMs: number;
	readonly #firstByteMs: number;
	readonly #idleMs: number;
	readonly #sleepers = new Set<() => void>();
	readonly #bucketHeaders: RequestHeaders;
	#region: string;
	/** Somebody has named it. */
	#knowsRegion: boolean;
	#site: Site;
	#credentials: ObjectStoreOptions["credentials"];
	#wasGivenOthers = false;
	/** The keys that the server accepted last. */
	#accepted: StaticCredentials | undefined;
	#clockOffsetMs = 0;
	#server: string | undefined;
	#isClosed = false;

	/** Throws a LauncherError if there is no URL for that bucket. */
	constructor(options: ObjectStoreOptions) {
		this.#options = options;
		const { region = "us-east-1", credentials, timeouts = {}, retryForMs = 60_000, maximumRequests = 32 } = options;
		this.#region = region;
		this.#knowsRegion = options.region !== undefined;
		this.#credentials = credentials;
		this.#retryForMs = retryForMs;
		this.#firstByteMs = timeouts.firstByteMs ?? 30_000;
		this.#idleMs = timeouts.idleMs ?? 20_000;
		this.#concurrency = new Concurrency(maximumRequests);
		this.#bucketHeaders = options.requesterPays === true ? { "x-amz-request-payer": "requester" } : {};
		this.#site = this.#createSite();
	}

	/** What answers call themselves; undefined before the first one. */
	get server(): string | undefined {
		return this.#server;
	}

	get bucket(): string {
		return this.#options.bucket;
	}

	setCredentials(credentials: ObjectStoreOptions["credentials"]): void {
		this.#credentials = credentials;
		this.#wasGivenOthers = true;
		// Those who wait because of the old ones.
		for (const wake of this.#sleepers) wake();
	}

	close(): void {
		this.#isClosed = true;
		this.#site.pool.close();
		this.#concurrency.close(new S3Error("ABORTED", "the store is closed"));
		for (const wake of this.#sleepers) wake();
	}

	/** The answer of a successful status; rejects with an S3Error, or with what the call's own functions throw. */
	async call(call: Call): Promise<Answer> {
		const tries: Tries = {
			retries: 0,
			failingSince: undefined,
			progress: 0,
			isFresh: false,
			staleConnections: 0,
			asksBeforeBody: false,
			sameFailures: 0,
			lastFailure: "",
			oddAnswers: 0,
			hasCorrectedClock: false,
			regions: 0,
			refusedSince: undefined,
			refused: undefined,
		};
		for (;;) {
			if (call.signal?.aborted === true || this.#isClosed) throw givenUp(call);
			const outcome = await this.#try(call, tries);
			if (outcome.verdict.kind === "ok" && outcome.answer !== undefined) {
				this.#pace.succeeded();
				return outcome.answer;
			}
			await this.#prepareRetry(call, tries, outcome);
		}
	}

	/** Returns when the time for another try has come, and throws if there is none. */
	async #prepareRetry(call: Call, tries: Tries, { verdict, failure, credentials, lastByteAt }: Outcome): Promise<void> {
		if (verdict.kind === "ok") return;
		const { error } = verdict;
		if (call.signal?.aborted === true || this.#isClosed) throw givenUp(call);
		switch (verdict.kind) {
			case "failed":
			case "ask":
				throw error;
			case "clock":
				if (tries.hasCorrectedClock) throw error;
				tries.hasCorrectedClock = true;
				this.#clockOffsetMs = verdict.serverMs - Date.now();
				return;
			case "region":
				if (++tries.regions > maximumRegions) throw error;
				this.#moveTo(verdict.region);
				return;
			case "credentials":
				await this.#untilOtherCredentials(call, tries, error, credentials);
				return;
			case "retry":
				break;
			default:
				verdict satisfies never;
		}
		if (failure?.isStale === true && tries.staleConnections < maximumStaleConnections) {
			tries.staleConnections++;
			tries.isFresh = true;
			return;
		}
		// Also when all was sent: what a server says of the headers goes with a connection on which it has not read the body.
		if (failure !== undefined && call.body !== undefined && failure.code !== "ETIMEDOUT") tries.asksBeforeBody = true;
		const progress = call.progress?.() ?? 0;
		if (progress - tries.progress >= noticeableProgressBytes) {
			tries.failingSince = undefined;
			tries.retries = 0;
		}
		tries.progress = progress;
		const now = performance.now();
		tries.failingSince ??= Math.min(now, lastByteAt);
		const leftMs = tries.failingSince + this.#retryForMs - now;
		if (error.status === 500 && call.repeatedFailureMeans !== undefined) {
			tries.sameFailures = error.message === tries.lastFailure ? tries.sameFailures + 1 : 1;
			tries.lastFailure = error.message;
			const { message, status, code } = error;
			if (tries.sameFailures >= maximumSameFailures)
				throw new S3Error(call.repeatedFailureMeans, message, { status, code, cause: error });
		}
		if (verdict.isOdd === true) tries.oddAnswers++;
		if (leftMs <= 0 || tries.oddAnswers >= maximumOddAnswers) throw error;
		const wantedMs = Math.max(verdict.afterMs, this.#pace.reserve(), backoffMs(tries.retries, verdict.baseMs));
		tries.retries++;
		// Whatever is asked for, the last try is made at the end of the time.
		await this.#pause(call, tries, error, Math.min(wantedMs, leftMs));
	}

	async #pause(call: Call, tries: Tries, error: S3Error, waitMs: number): Promise<void> {
		// A connection over which something went wrong may go through a server that does.
		tries.isFresh = error.kind === "UNAVAILABLE";
		this.#options.onEvent?.({ kind: "retry", operation: call.operation, key: call.key, reason: error.kind, waitMs });
		const { promise, resolve } = Promise.withResolvers<void>();
		const wake = (): void => resolve();
		const timer = setTimeout(wake, waitMs);
		this.#sleepers.add(wake);
		call.signal?.addEventListener("abort", wake);
		try {
			await promise;
		} finally {
			clearTimeout(timer);
			this.#sleepers.delete(wake);
			call.signal?.removeEventListener("abort", wake);
		}
	}

	async #try(call: Call, tries: Tries): Promise<Outcome> {
		const queuedAt = performance.now();
		const turn = await this.#concurrency.take(call.priority, call.signal).catch((error: unknown) => {
			throw error instanceof S3Error ? error : givenUp(call);
		});
		let outcome: "ok" | "throttled" | "other" = "other";
		let site = this.#site;
		const startedAt = performance.now();
		// To wait for one's turn is not to fail.
		if (tries.failingSince !== undefined) tries.failingSince += startedAt - queuedAt;
		let connection: Connection | undefined;
		let credentials: StaticCredentials | undefined;
		try {
			credentials = await this.#currentCredentials(call, tries);
			// They may have brought the region along.
			site = this.#site;
			const maximumIdleMs = tries.isFresh ? 0 : (call.maximumIdleMs ?? Number.POSITIVE_INFINITY);
			connection = await site.pool.take({ maximumIdleMs, signal: call.signal });
			if (this.#isClosed) throw givenUp(call);
			const attempt = { call, site, credentials, clockOffsetMs: this.#clockOffsetMs };
			const answer = await this.#send(attempt, connection, tries.asksBeforeBody);
			let verdict = this.#judge(attempt, answer);
			if (verdict.kind === "ask") verdict = await this.#askAgain(attempt, connection, verdict);
			outcome = verdict.kind === "ok" ? "ok" : verdict.error.kind === "THROTTLED" ? "throttled" : "other";
			if (verdict.kind === "ok") this.#accepted = credentials;
			return { verdict, answer, credentials, lastByteAt: startedAt };
		} catch (thrown) {
			if (thrown instanceof CredentialsError) return { verdict: thrown.verdict, credentials, lastByteAt: startedAt };
			if (thrown instanceof ExchangeError) {
				if (connection !== undefined) call.onDoubt?.();
				this.#report(call, startedAt, 0, 0, 0);
				const verdict = judgeFailure(thrown, call);
				const lastByteAt = connection === undefined ? startedAt : thrown.lastByteAt;
				return { verdict, failure: thrown, credentials, lastByteAt };
			}
			// An answer that was refused because of its headers: another one may be right.
			if (thrown instanceof S3Error && thrown.kind === "UNAVAILABLE")
				return {
					verdict: { kind: "retry", error: thrown, baseMs: 100, afterMs: 0 },
					credentials,
					lastByteAt: startedAt,
				};
			throw thrown;
		} finally {
			if (connection !== undefined) {
				if (this.#site === site) site.pool.give(connection);
				else connection.close();
			}
			this.#concurrency.give(turn, outcome);
		}
	}

	/** Returns when it is worth a try with what the keys are by then. */
	async #untilOtherCredentials(
		call: Call,
		tries: Tries,
		error: S3Error,
		credentials: StaticCredentials | undefined,
	): Promise<void> {
		const now = performance.now();
		const isFirst = tries.refusedSince === undefined;
		tries.refusedSince ??= now;
		tries.refused = credentials;
		const isFunction = typeof this.#credentials === "function";
		// They were changed while the request was under way.
		if (isFirst && !isFunction && credentials !== this.#credentials) return;
		const wereGood = credentials !== undefined && credentials === this.#accepted;
		const mayChange = isFunction || this.#wasGivenOthers || wereGood;
		tries.failingSince ??= now;
		const leftMs = Math.min(tries.refusedSince + rotationMs, tries.failingSince + this.#retryForMs) - now;
		if (!mayChange || leftMs <= 0) throw error;
		await this.#pause(call, tries, error, Math.min(rotationBaseMs * (0.5 + Math.random()), leftMs));
	}

	#judge(attempt: Attempt, answer: Answer): Verdict {
		const { call, credentials, clockOffsetMs } = attempt;
		this.#server = answer.headers.get("server") ?? this.#server ?? "";
		const verdict = judgeAnswer(answer, {
			operation: call.operation,
			key: call.key,
			isHead: call.method === "HEAD",
			preconditionMeans: call.preconditionMeans ?? "OBJECT_REPLACED",
			check: call.check,
			region: this.#region,
			credentials,
			now: new Date(Date.now() + clockOffsetMs),
		});
		if (verdict.kind === "retry") call.onDoubt?.();
		return verdict;
	}

	/** The same question with GET, whose answer may have a body. If it finds nothing wrong, the first answer counts. */
	async #askAgain(attempt: Attempt, connection: Connection, first: Verdict): Promise<Verdict> {
		if (!connection.isUsable) return first;
		const { call } = attempt;
		const headers = (): RequestHeaders => ({ ...call.headers?.(), range: "bytes=0-0" });
		const question = { ...attempt, call: { ...call, method: "GET", headers } as const };
		const second = this.#judge(question, await this.#send(question, connection, false));
		return second.kind === "ok" ? first : second;
	}

	async #send(attempt: Attempt, connection: Connection, asksBeforeBody: boolean): Promise<Answer> {
		const { call } = attempt;
		const { body, method, workBytes } = call;
		const startedAt = performance.now();
		const expectsContinue = asksBeforeBody && body !== undefined;
		const answer = await connection.exchange({
			head: this.#compose(attempt, expectsContinue),
			body,
			expectsContinue,
			isHead: method === "HEAD",
			accept: call.accept,
			maximumBytes: call.maximumAnswerBytes ?? shareBytes,
			onProgress: call.onProgress,
			firstByteMs: this.#firstByteMs * (workBytes === undefined ? 1 : workPatience),
			idleMs: this.#idleMs,
			keepAliveMs: workBytes === undefined ? undefined : this.#idleMs * workTimes + workBytes / slowestWorkBytesPerMs,
			signal: call.signal,
		});
		this.#report(call, startedAt, answer.status, answer.filledBytes + answer.body.length, body?.sizeBytes ?? 0);
		return answer;
	}

	#report(call: Call, startedAt: number, status: number, receivedBytes: number, sentBytes: number): void {
		const seconds = (performance.now() - startedAt) / 1000;
		const { operation, key } = call;
		this.#options.onEvent?.({ kind: "request", operation, key, status, seconds, receivedBytes, sentBytes });
	}

	#compose({ call, site, credentials, clockOffsetMs }: Attempt, expectsContinue: boolean): string {
		const { method, body, key } = call;
		const { address } = site;
		const path = `${address.basePath}/${key === undefined ? "" : encodeKey(key)}`;
		const query = call.query === undefined ? "" : encodeQuery(call.query);
		const headers = { host: address.host, ...call.headers?.(), ...this.#bucketHeaders };
		const signed =
			credentials === undefined
				? headers
				: signCanonical(
						{ path, query, headers },
						{
							method,
							region: this.#region,
							credentials,
							now: new Date(Date.now() + clockOffsetMs),
							// A body's checksum is among the headers that are signed, so that an error on the way is found. To hash
							// the whole body as well would take longer than to send it, and would only keep out who can change
							// what goes over plain HTTP, and such a one can change what comes back, too.
							...(body !== undefined && { bodyHash: call.bodyHash ?? "UNSIGNED-PAYLOAD" }),
						},
					);
		let text = `${method} ${site.absolute}${path}${query === "" ? "" : `?${query}`} HTTP/1.1\r\n`;
		for (const name of Object.keys(signed)) {
			const value = (signed as RequestHeaders)[name] ?? "";
			if (!headerText.test(value)) {
				const problem = `${describePlace(call)}: the header ${name} has a character that no header may have`;
				throw new S3Error("REFUSED", problem);
			}
			// The head goes out as Latin-1, and what is signed as UTF-8.
			text += `${name}: ${/^[ -~]*$/.test(value) ? value : Buffer.from(value).toString("latin1")}\r\n`;
		}
		// Not signed: proxies change them.
		text += `user-agent: fluid-fuse\r\naccept-encoding: identity\r\n${site.proxyLines}`;
		if (body !== undefined) text += `content-length: ${body.sizeBytes}\r\n`;
		else if (method === "PUT" || method === "POST") text += "content-length: 0\r\n";
		if (expectsContinue) text += "expect: 100-continue\r\n";
		return `${text}\r\n`;
	}

	async #currentCredentials(call: Call, tries: Tries): Promise<StaticCredentials | undefined> {
		const source = this.#credentials;
		if (typeof source !== "function") return source;
		try {
			const asked = source({ refused: tries.refused });
			const found = await (call.signal === undefined ? asked : orAbort(asked, call.signal));
			if (found.region !== undefined && !this.#knowsRegion) this.#moveTo(found.region);
			return found;
		} catch (cause) {
			if (call.signal?.aborted === true) throw givenUp(call);
			if (cause instanceof LauncherError) {
				const error = new S3Error("UNAVAILABLE", `${describePlace(call)}: ${cause.message}`, { cause });
				throw new CredentialsError({ kind: "retry", error, baseMs: rotationBaseMs, afterMs: 0 });
			}
			// Not its message: it may quote what it could not read.
			const error = new S3Error("DENIED", `${describePlace(call)}: there are no credentials to be had`, { cause });
			throw new CredentialsError({ kind: "credentials", error });
		}
	}

	#moveTo(region: string): void {
		this.#knowsRegion = true;
		// Another request may have learned it, too.
		if (region === this.#region) return;
		this.#region = region;
		if (this.#options.endpoint !== undefined) return;
		const { pool } = this.#site;
		this.#site = this.#createSite();
		pool.closeIdle();
	}

	#createSite(): Site {
		const { endpoint, bucket, pathStyle, ca, insecureSkipVerify = false, proxyEnv = {}, timeouts } = this.#options;
		const address = bucketAddress({ endpoint, region: this.#region, bucket, pathStyle });
		const { origin } = address;
		const proxy = proxyFor(origin, proxyEnv);
		const connectMs = timeouts?.connectMs ?? 5000;
		const pool = new Pool(new Dialer({ url: origin, proxy, ca, verifies: !insecureSkipVerify, connectMs }));
		// A tunnel needs neither.
		if (proxy === undefined || origin.protocol === "https:") return { address, pool, absolute: "", proxyLines: "" };
		const authorization = proxyAuthorization(proxy);
		const proxyLines = authorization === undefined ? "" : `proxy-authorization: ${authorization}\r\n`;
		return { address, pool, absolute: origin.origin, proxyLines };
	}
}

/** Keeps what went wrong apart from what the server says. */
class CredentialsError extends Error {
	readonly verdict: Verdict;

	constructor(verdict: Verdict) {
		super("no credentials");
		this.verdict = verdict;
	}
}

function givenUp(call: Call): S3Error {
	return new S3Error("ABORTED", `${describePlace(call)}: given up`);
}
