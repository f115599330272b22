import { LauncherError, type ErrorCode } from "../../errors.ts";
import { clockSkewMs, describeSkew } from "../clock-skew.ts";
import { describe } from "../location.ts";
import { printable } from "../printable.ts";
import type { Look } from "./check.ts";
import { failed, passed, skipped, warning, type Step } from "./step.ts";
import type { Handshake, Phase } from "./trace.ts";

/** Who signs a bucket's requests. */
export type Signer =
	| { readonly kind: "keys" }
	/** The pod's own, and what gave it the keys. */
	| { readonly kind: "identity"; readonly provider: string }
	| { readonly kind: "nobody" }
	/** Keys that the driver's program finds for itself, and nobody else knows. */
	| { readonly kind: "driver" };

/** What is looked at, in the order in which one depends on the other. */
const order = ["name", "connect", "tls", "answer", "clock", "signature", "region", "list"] as const;

type StepName = (typeof order)[number];

/** What was seen of a bucket, one step after the other, up to the one that failed. */
export function stepsOf(look: Look, context: { readonly signer: Signer; readonly isRegionGuessed: boolean }): Step[] {
	const error = look.error ?? unsignedRefusal(look, context.signer);
	const failing = error === undefined ? undefined : failingStep(error.code, lastPhase(look));
	const steps: Step[] = [];
	for (const [index, name] of order.entries()) {
		const failingIndex = failing === undefined ? order.length : order.indexOf(failing);
		if (error !== undefined && index === failingIndex) steps.push(failed(name, error, msOf(name, look)));
		else if (index > failingIndex) steps.push(skipped(name, "not tried"));
		else steps.push(...seen(name, look, context, error?.code));
	}
	// A server without TLS has no such step.
	return look.location.endpoint?.protocol === "http:" ? steps.filter(({ name }) => name !== "tls") : steps;
}

/** In which a step's time passes, of those that take some of their own. */
const phases: Readonly<Partial<Record<StepName, Phase>>> = {
	name: "lookup",
	connect: "connect",
	tls: "tls",
	answer: "answer",
};

function msOf(name: StepName, { trace }: Look): number | undefined {
	const phase = phases[name];
	return phase === undefined ? undefined : trace?.ms[phase];
}

function lastPhase({ trace }: Look): Phase {
	const begun = Object.keys(trace?.ms ?? {}) as Phase[];
	return begun.at(-1) ?? "prepare";
}

/** Which step an error belongs to; where the code does not tell, the phase in which it came does. */
function failingStep(code: ErrorCode, phase: Phase): StepName {
	return stepsByCode.get(code) ?? stepsByPhase[phase];
}

const stepsByCode: ReadonlyMap<ErrorCode, StepName> = new Map([
	["BACKEND_DNS", "name"],
	["BACKEND_TLS", "tls"],
	["CLOCK_SKEW", "clock"],
	["KEY_UNKNOWN", "signature"],
	["SIGNATURE_WRONG", "signature"],
	["TOKEN_INVALID", "signature"],
	["REGION_WRONG", "region"],
	["BUCKET_MISSING", "list"],
	["ACCESS_DENIED", "list"],
	["PREFIX_WRONG", "list"],
]);

const stepsByPhase: Readonly<Record<Phase, StepName>> = {
	prepare: "name",
	lookup: "name",
	connect: "connect",
	tls: "tls",
	answer: "answer",
	body: "answer",
};

/** Who signs with nothing, and is to, has nothing to hope for from keys that come later. */
function unsignedRefusal({ answer, list, location }: Look, signer: Signer): LauncherError | undefined {
	if (signer.kind !== "nobody" || list !== undefined || answer === undefined) return undefined;
	return new LauncherError(
		"ACCESS_DENIED",
		`${describe(location)}: the server does not list the bucket for everybody (status ${answer.status})`,
		{ hint: "Leave the option anonymous out, and give the bucket's keys; or allow everybody to list the bucket." },
	);
}

function seen(
	name: StepName,
	look: Look,
	{ signer, isRegionGuessed }: { readonly signer: Signer; readonly isRegionGuessed: boolean },
	code: ErrorCode | undefined,
): Step[] {
	const { trace, answer, at, location, list } = look;
	const ms = msOf(name, look);
	switch (name) {
		case "name":
			// An address needs no lookup.
			return ms === undefined ? [] : [passed(name, "the name is known", ms)];
		case "connect":
			return ms === undefined ? [] : [passed(name, trace?.peer ?? "through the proxy", ms)];
		case "tls":
			return trace?.tls === undefined ? [] : [handshake(trace.tls, at, ms)];
		case "answer":
			if (answer === undefined) return [skipped(name, "nothing was asked")];
			return [
				passed(
					name,
					`status ${answer.status} of ${printable([answer.headers["server"]].flat()[0] ?? "a server without a name", 60)}`,
					ms,
				),
			];
		case "clock":
			return [clock(answer?.headers.date, at)];
		case "signature":
			if (code !== undefined && answersBeforeKeys.has(code)) return [skipped(name, unseen)];
			return [signature(signer, list !== undefined || code !== undefined)];
		case "region":
			if (code !== undefined && answersBeforeKeys.has(code)) return [skipped(name, unseen)];
			return [passed(name, `${location.region}${isRegionGuessed ? ", which nobody has given" : ""}`)];
		case "list":
			if (list === undefined)
				return [skipped(name, "the driver signs with keys that only its own program finds: look into its log")];
			return [passed(name, isEmpty(list) ? "nothing is there yet" : "objects are there")];
		default:
			return name satisfies never;
	}
}

/** What servers may say of a request before they look at who has signed it. */
const answersBeforeKeys: ReadonlySet<ErrorCode> = new Set(["BUCKET_MISSING", "REGION_WRONG"]);
const unseen = "the server may not have looked at it";

function isEmpty({ objects, prefixes, undecodableKeys = 0 }: NonNullable<Look["list"]>): boolean {
	return objects.length + prefixes.length + undecodableKeys === 0;
}

const day = 24 * 60 * 60 * 1000;
/** Whoever renews by hand needs some days. */
const soonDays = 14;

function handshake({ protocol, issuer, validUntil }: Handshake, now: Date, ms: number | undefined): Step {
	const days = Math.floor((validUntil.getTime() - now.getTime()) / day);
	const message = `${protocol}, certificate by ${printable(issuer, 60)}, good for ${days} day${days === 1 ? "" : "s"} more`;
	// Of a server whose certificate nobody looks at.
	if (Number.isNaN(days)) return passed("tls", `${protocol}, certificate not looked at`, ms);
	if (days >= soonDays) return passed("tls", message, ms);
	return warning("tls", message, "Have the server's certificate renewed before that.", ms);
}

function clock(date: string | undefined, at: Date): Step {
	const skewMs = clockSkewMs(date, at);
	if (skewMs !== undefined)
		return warning("clock", describeSkew(skewMs), "Set the node's clock, and keep it right with NTP.");
	const apart = Math.abs(at.getTime() - Date.parse(date ?? ""));
	if (Number.isNaN(apart)) return skipped("clock", "the server does not tell the time");
	// The header has whole seconds.
	return passed(
		"clock",
		apart < 2000 ? "the server's is the same" : `${Math.round(apart / 1000)} s apart, which is near enough`,
	);
}

function signature(signer: Signer, isJudged: boolean): Step {
	switch (signer.kind) {
		case "keys":
			return passed("signature", "accepted, with the keys of the options");
		case "identity":
			return passed("signature", `accepted, as the pod's own identity (${signer.provider})`);
		case "nobody":
			return passed("signature", "requests are not signed");
		case "driver":
			return isJudged
				? passed("signature", "requests are not signed")
				: skipped("signature", "the driver signs with keys that only its own program finds");
		default:
			return signer satisfies never;
	}
}
