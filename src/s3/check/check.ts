import type { ProxyEnv } from "node:http";

import { LauncherError } from "../../errors.ts";
import { diagnoseFailure, diagnoseTimeout, type ConnectionContext } from "./connection-diagnosis.ts";
import { credentialsFault } from "./credentials.ts";
import { diagnoseAnswer, namedRegion, type AnswerContext } from "./diagnosis.ts";
import { parseListAnswer } from "../list-answer.ts";
import { describe, listUrl, type BucketLocation } from "../location.ts";
import type { ListPage } from "../object-store.ts";
import { printable } from "../printable.ts";
import { proxyFor } from "../http/proxy.ts";
import { request, type Answer, type Outcome } from "./request.ts";
import type { Trace } from "./trace.ts";

export type { BucketLocation } from "../location.ts";

export interface CheckOptions {
	readonly signal: AbortSignal;
	/** For everything together, from the name lookup to the answer's last byte. Default: 5000. */
	readonly timeoutMs?: number;
	/** Where to look for HTTP_PROXY, HTTPS_PROXY and NO_PROXY, such as `process.env`. Default: no proxy. */
	readonly proxyEnv?: ProxyEnv;
	/** The clock to sign by, and to compare with the server's. */
	readonly now?: () => Date;
	/** The location's region is only a guess: where the server names another one, it is asked again as if that had been given. Default: false. */
	readonly isRegionGuessed?: boolean;
}

/**
 * Lists at most one object of the bucket below the prefix. Rejects with a LauncherError that tells what is wrong, or with
 * the signal's reason. A prefix without objects is an empty folder, not a failure, unless it is an object itself. Without credentials a 401 or 403 is
 * none either: whoever mounts may have some of its own.
 */
export async function checkBucket(location: BucketLocation, options: CheckOptions): Promise<void> {
	const { error } = await lookAtBucket(location, options);
	if (error !== undefined) throw error;
}

/** What was seen of a bucket from outside. */
export interface Look {
	/** What is wrong with it; undefined: nothing. */
	readonly error: LauncherError | undefined;
	/** Of the first request; undefined: none was sent. */
	readonly trace: Trace | undefined;
	/** The answer that counts, and our clock when it came; undefined: there was none. */
	readonly answer: Answer | undefined;
	readonly at: Date;
	/** With the region that the server has named. */
	readonly location: BucketLocation;
	/** Undefined: it could not be listed, which without credentials need be no error. */
	readonly list: ListPage | undefined;
}

/** The same as checkBucket, with all that was seen. Rejects with the signal's reason only. */
export async function lookAtBucket(location: BucketLocation, options: CheckOptions): Promise<Look> {
	const { signal, timeoutMs = 5000, isRegionGuessed = false, now = () => new Date() } = options;
	signal.throwIfAborted();
	const nothing = { trace: undefined, answer: undefined, location, list: undefined };
	const fault = credentialsFault(location);
	if (fault !== undefined) return { ...nothing, error: fault, at: now() };
	const startedAt = performance.now();
	const leftMs = (): number => Math.max(1, Math.round(timeoutMs - (performance.now() - startedAt)));
	try {
		const first = await ask(location, options, timeoutMs);
		const region = isRegionGuessed ? first.region : undefined;
		const place = region === undefined ? location : { ...location, region };
		const last = place === location ? first : await ask(place, options, leftMs());
		const { list, error } = last;
		const isBare = list !== undefined && isEmpty(list) && location.prefix !== "";
		const wrong = error ?? (isBare ? await objectAtPrefix(place, options, leftMs()) : undefined);
		return { error: wrong, trace: first.trace, answer: last.answer, at: now(), location: place, list };
	} catch (thrown) {
		signal.throwIfAborted();
		if (!(thrown instanceof LauncherError)) throw thrown;
		return { ...nothing, error: thrown, at: now() };
	}
}

/** PREFIX_WRONG when the prefix is an object: below it there is nothing to show, and to look there is a mistake. */
async function objectAtPrefix(
	location: BucketLocation,
	options: CheckOptions,
	timeoutMs: number,
): Promise<LauncherError | undefined> {
	const key = location.prefix.slice(0, -1);
	// Keys in order: the object comes before what its name begins. Who may not ask is told nothing.
	const { list } = await ask({ ...location, prefix: key }, options, timeoutMs);
	const [object] = list?.objects ?? [];
	// An empty one is how some programs make a folder.
	if (object?.key !== key || object.sizeBytes === 0) return undefined;
	return new LauncherError("PREFIX_WRONG", `${describe(location)}: ${printable(key, 300)} is an object, not a folder`, {
		hint: "Mount the folder that the object is in.",
	});
}

function isEmpty({ objects, prefixes, undecodableKeys = 0 }: ListPage): boolean {
	return objects.length + prefixes.length + undecodableKeys === 0;
}

interface Asked {
	readonly error: LauncherError | undefined;
	/** Another one that the server names. */
	readonly region: string | undefined;
	readonly list: ListPage | undefined;
	readonly answer: Answer | undefined;
	readonly trace: Trace;
}

async function ask(
	location: BucketLocation,
	{ signal, proxyEnv = {}, now = () => new Date() }: CheckOptions,
	timeoutMs: number,
): Promise<Asked> {
	const url = listUrl(location);
	const proxy = proxyFor(url, proxyEnv);
	const outcome = await request(url, location, { signal, timeoutMs, now: now(), proxy });
	const found = diagnose(outcome, { location, url, proxy, timeoutMs, now: now() });
	const error = found === undefined || proxy === undefined ? found : withProxyAdvice(found, proxy);
	const { trace } = outcome;
	if (outcome.kind !== "answer") return { error, region: undefined, list: undefined, answer: undefined, trace };
	return {
		error,
		answer: outcome.answer,
		trace,
		region: error?.code === "REGION_WRONG" ? namedRegion(outcome.answer, location) : undefined,
		list: error === undefined ? parseListAnswer(outcome.answer.body) : undefined,
	};
}

interface Context extends ConnectionContext, AnswerContext {
	readonly timeoutMs: number;
}

function diagnose(outcome: Outcome, context: Context): LauncherError | undefined {
	switch (outcome.kind) {
		case "answer":
			return diagnoseAnswer(outcome.answer, context);
		case "timeout":
			return diagnoseTimeout(outcome.phase, context.timeoutMs, context);
		case "failure":
			return diagnoseFailure(outcome.error, outcome.phase, context);
		default:
			return outcome satisfies never;
	}
}

/** What answers for a server may be the proxy, and nobody remembers that there is one. */
function withProxyAdvice(error: LauncherError, proxy: URL): LauncherError {
	const { code, message, hint, cause } = error;
	if (error.class !== "backend") return error;
	const advice = `This went through the proxy ${proxy.host}: if it must not, put the endpoint into NO_PROXY.`;
	return new LauncherError(code, message, { hint: hint === undefined ? advice : `${hint} ${advice}`, cause });
}
