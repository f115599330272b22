import { LauncherError } from "../errors.ts";
import { givenUp, type RequestHeaders, type S3Call } from "./call.ts";
import { shareBytes } from "./http/answer-room.ts";
import { Concurrency } from "./http/concurrency.ts";
import { ExchangeError, type Answer, type Exchanger } from "./http/connection.ts";
import type { Pool } from "./http/pool.ts";
import { S3Error, type ObjectStoreOptions, type StaticCredentials } from "./object-store.ts";
import { requestHead } from "./request-head.ts";
import { backoffMs, RetryPace } from "./retry-pace.ts";
import { createSite, type Site } from "./site.ts";
import { describePlace, judgeAnswer, judgeFailure, type Verdict } from "./verdict.ts";
import { orAbort } from "../within.ts";

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

interface TryOutcome {
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
	readonly call: S3Call;
	readonly into: Buffer | undefined;
	readonly site: Site;
	readonly credentials: StaticCredentials | undefined;
	readonly clockOffsetMs: number;
	/** By `performance.now()`. */
	readonly queuedAt: number;
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
		this.#site = createSite(this.#options, this.#region);
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
		this.#site.close();
		this.#concurrency.close(new S3Error("ABORTED", "the store is closed"));
		for (const wake of this.#sleepers) wake();
	}

	/** The answer of a successful status; rejects with an S3Error, or with what the call's own functions throw. */
	async call(call: S3Call): Promise<Answer> {
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
	async #prepareRetry(
		call: S3Call,
		tries: Tries,
		{ verdict, failure, credentials, lastByteAt }: TryOutcome,
	): Promise<void> {
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

	async #pause(call: S3Call, tries: Tries, error: S3Error, waitMs: number): Promise<void> {
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

	async #try(call: S3Call, tries: Tries): Promise<TryOutcome> {
		const queuedAt = performance.now();
		const turn = await this.#concurrency.take(call.priority, call.signal).catch((error: unknown) => {
			throw error instanceof S3Error ? error : givenUp(call);
		});
		let outcome: "ok" | "throttled" | "other" = "other";
		let site = this.#site;
		let pool: Pool | undefined;
		const startedAt = performance.now();
		// To wait for one's turn is not to fail.
		if (tries.failingSince !== undefined) tries.failingSince += startedAt - queuedAt;
		let connection: Exchanger | undefined;
		let credentials: StaticCredentials | undefined;
		let sentAt: number | undefined;
		try {
			credentials = await this.#currentCredentials(call, tries);
			// They may have brought the region along.
			site = this.#site;
			const maximumIdleMs = tries.isFresh ? 0 : (call.maximumIdleMs ?? Number.POSITIVE_INFINITY);
			const into = call.into?.();
			pool = site.poolFor({ into, body: call.body });
			connection = await pool.take({ maximumIdleMs, signal: call.signal });
			if (this.#isClosed) throw givenUp(call);
			const attempt = { call, into, site, credentials, clockOffsetMs: this.#clockOffsetMs, queuedAt };
			sentAt = performance.now();
			const answer = await this.#send(attempt, connection, tries.asksBeforeBody);
			let verdict = this.#judge(attempt, answer, sentAt);
			if (verdict.kind === "ask") verdict = await this.#askAgain(attempt, connection, verdict);
			outcome = verdict.kind === "ok" ? "ok" : verdict.error.kind === "THROTTLED" ? "throttled" : "other";
			if (verdict.kind === "ok") this.#accepted = credentials;
			return { verdict, answer, credentials, lastByteAt: startedAt };
		} catch (thrown) {
			if (thrown instanceof CredentialsError) return { verdict: thrown.verdict, credentials, lastByteAt: startedAt };
			if (thrown instanceof ExchangeError) {
				if (connection !== undefined) call.onDoubt?.();
				this.#report(call, { queuedAt, sentAt, code: thrown.code });
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
				if (this.#site === site) pool?.give(connection);
				else connection.close();
			}
			this.#concurrency.give(turn, outcome);
		}
	}

	/** Returns when it is worth a try with what the keys are by then. */
	async #untilOtherCredentials(
		call: S3Call,
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

	#judge(attempt: Attempt, answer: Answer, sentAt: number): Verdict {
		const { call, credentials, clockOffsetMs, queuedAt } = attempt;
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
		this.#report(call, { queuedAt, sentAt, answer, code: verdict.kind === "ok" ? undefined : verdict.error.code });
		if (verdict.kind === "retry") call.onDoubt?.();
		return verdict;
	}

	/** The same question with GET, whose answer may have a body. If it finds nothing wrong, the first answer counts. */
	async #askAgain(attempt: Attempt, connection: Exchanger, first: Verdict): Promise<Verdict> {
		if (!connection.isUsable) return first;
		const { call } = attempt;
		const headers = (): RequestHeaders => ({ ...call.headers?.(), range: "bytes=0-0" });
		const question = { ...attempt, call: { ...call, method: "GET", headers } as const };
		const sentAt = performance.now();
		const second = this.#judge(question, await this.#send(question, connection, false), sentAt);
		return second.kind === "ok" ? first : second;
	}

	async #send(attempt: Attempt, connection: Exchanger, asksBeforeBody: boolean): Promise<Answer> {
		const { call, into } = attempt;
		const { body, method, workBytes } = call;
		const expectsContinue = asksBeforeBody && body !== undefined;
		return connection.exchange({
			head: this.#head(attempt, expectsContinue),
			body,
			expectsContinue,
			isHead: method === "HEAD",
			into,
			accept: call.accept,
			maximumBytes: call.maximumAnswerBytes ?? shareBytes,
			onProgress: call.onProgress,
			firstByteMs: this.#firstByteMs * (workBytes === undefined ? 1 : workPatience),
			idleMs: this.#idleMs,
			keepAliveMs: workBytes === undefined ? undefined : this.#idleMs * workTimes + workBytes / slowestWorkBytesPerMs,
			signal: call.signal,
		});
	}

	/** A request that was sent, with its answer if there is one. */
	#report(
		{ operation, key, body }: S3Call,
		{
			queuedAt,
			sentAt,
			answer,
			code,
		}: {
			readonly queuedAt: number;
			/** Undefined: there was no connection. */
			readonly sentAt: number | undefined;
			readonly answer?: Answer;
			readonly code: string | undefined;
		},
	): void {
		const now = performance.now();
		this.#options.onEvent?.({
			kind: "request",
			operation,
			key,
			status: answer?.status ?? 0,
			code,
			seconds: sentAt && (now - sentAt) / 1000,
			firstByteSeconds: answer && sentAt && (answer.firstByteAt - sentAt) / 1000,
			waitedSeconds: ((sentAt ?? now) - queuedAt) / 1000,
			receivedBytes: answer === undefined ? 0 : answer.filledBytes + answer.body.length,
			sentBytes: answer === undefined ? 0 : (body?.sizeBytes ?? 0),
		});
	}

	#head({ call, site, credentials, clockOffsetMs }: Attempt, expectsContinue: boolean): string {
		return requestHead(call, {
			site,
			region: this.#region,
			credentials,
			now: new Date(Date.now() + clockOffsetMs),
			bucketHeaders: this.#bucketHeaders,
			expectsContinue,
		});
	}

	async #currentCredentials(call: S3Call, tries: Tries): Promise<StaticCredentials | undefined> {
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
		const before = this.#site;
		this.#site = createSite(this.#options, this.#region);
		before.closeIdle();
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
