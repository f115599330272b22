import type { PlannedMount } from "../config/plan.ts";
import type { BucketAccess, CheckContext, HostNeeds, PreparedMount } from "../drivers/driver.ts";
import { errorKinds, toLauncherError } from "../errors.ts";
import { readNamedFile } from "../named-file.ts";
import { ConfigError } from "../options/faults.ts";
import { abilities } from "../s3/abilities.ts";
import { lookAtBucket } from "../s3/check/check.ts";
import { failed, passed, skipped, type Step } from "../s3/check/step.ts";
import { stepsOf } from "../s3/check/steps.ts";
import { tryReading, tryWriting } from "../s3/check/trial.ts";
import { createIdentity } from "../s3/identity/identity.ts";
import { ServerKnowledge } from "../s3/server-knowledge.ts";
import { createObjectStore } from "../s3/store.ts";
import { maskRotatingKeys } from "../secrets/mask-keys.ts";
import { createRedactor } from "../secrets/redact.ts";
import { hostSteps } from "./check-host.ts";
import { planOf, type SourceFlags, type Surroundings } from "./check-source.ts";
import type { Output } from "./output.ts";
import { renderSteps } from "./step-lines.ts";
import { rows } from "./terminal.ts";

export interface CheckFlags extends SourceFlags {
	readonly json: boolean;
}

/** What `--json` prints. Holds no secret. */
interface Report {
	readonly ok: boolean;
	/** Of the container; only where the config is the one that `run` would read. */
	readonly host?: readonly Step[];
	readonly mounts: readonly CheckedMount[];
}

interface CheckedMount {
	/** JSON path: `mounts[0]`. */
	readonly path: string;
	readonly source: string;
	readonly driver?: string;
	readonly steps: readonly Step[];
	/** What its server lacks or does otherwise, as far as that was tried. */
	readonly concessions: readonly { readonly name: string; readonly message: string }[];
}

/**
 * Tries each bucket of a config file, or each source, one step after the other. Returns 0, the exit code of the first failure, or 130 when it is
 * given up. Throws USAGE, CONFIG_MISSING and CONFIG_INVALID.
 */
export async function check(
	words: readonly string[],
	flags: CheckFlags,
	surroundings: Surroundings,
	output: Output,
): Promise<number> {
	try {
		return await checkAll(words, flags, surroundings, output);
	} catch (error) {
		if (!surroundings.signal.aborted) throw error;
		output.err(flags.write ? "given up; what was made is deleted again\n" : "given up\n");
		return 130;
	}
}

async function checkAll(
	words: readonly string[],
	flags: CheckFlags,
	surroundings: Surroundings,
	output: Output,
): Promise<number> {
	const redactor = createRedactor();
	const { plan, environment } = await planOf(words, flags, surroundings, redactor);
	const { variables, signal } = surroundings;
	const context = {
		variables,
		signal,
		identity: createIdentity(variables, { onRenewed: maskRotatingKeys(redactor) }),
	};
	const print = (text: string): void => {
		if (!flags.json) output.out(redactor.redact(text));
	};
	const mounts: CheckedMount[] = plan.refused.map(({ path, source, faults }) => ({
		path,
		source,
		steps: [failed("config", new ConfigError(faults, path))],
		concessions: [],
	}));
	for (const mount of mounts) print(render(mount));
	const needs: HostNeeds[] = [];
	for (const planned of plan.mounts) {
		const { prepared, ...checked } = await checkMount(planned, flags, context);
		if (prepared?.needs !== undefined) needs.push(prepared.needs);
		mounts.push(checked);
		print(render(checked));
	}
	const host =
		words.length > 0
			? undefined
			: await hostSteps({
					targetPath: plan.targetPath,
					runDirectory: environment.FLUID_FUSE_RUN_DIR,
					stopTimeoutMs: environment.FLUID_FUSE_STOP_TIMEOUT,
					needs,
				});
	if (host !== undefined) print(`this container\n${renderSteps(host)}\n`);
	const steps = [...mounts.flatMap((mount) => mount.steps), ...(host ?? [])];
	const failure = steps.find(({ outcome }) => outcome === "failed");
	const report: Report = { ok: failure === undefined, ...(host !== undefined && { host }), mounts };
	if (flags.json) output.out(redactor.redact(`${JSON.stringify(report, undefined, 2)}\n`));
	else print(failure === undefined ? "OK\n" : "FAILED\n");
	return failure === undefined ? 0 : errorKinds[failure.code ?? "INTERNAL"].exitCode;
}

async function checkMount(
	planned: PlannedMount,
	flags: CheckFlags,
	context: CheckContext,
): Promise<CheckedMount & { readonly prepared: PreparedMount | undefined }> {
	const facts = { path: planned.path, source: planned.source, driver: planned.driver.name };
	const knowledge = new ServerKnowledge();
	let prepared: PreparedMount | undefined;
	let steps: Step[];
	try {
		({ mount: prepared } = await planned.prepare());
		steps = await stepsOfMount(prepared, { ...flags, readOnly: planned.readOnly }, context, knowledge);
	} catch (thrown) {
		context.signal.throwIfAborted();
		const error = toLauncherError(thrown);
		if (error.code === "INTERNAL") throw thrown;
		steps = [failed(prepared === undefined ? "config" : "signature", error)];
	}
	const concessions = knowledge.concessions.map(({ ability }) => ({ name: ability, message: abilities[ability] }));
	return { ...facts, steps, concessions, prepared };
}

async function stepsOfMount(
	mount: PreparedMount,
	flags: { readonly write: boolean; readonly readOnly: boolean },
	context: CheckContext,
	knowledge: ServerKnowledge,
): Promise<Step[]> {
	const access = await mount.bucket?.(context);
	if (access === undefined) return [await backendStep(mount, context)];
	const { isRegionGuessed, signer } = access;
	const { signal, variables } = context;
	const look = await lookAtBucket(access.location, { signal, proxyEnv: variables, isRegionGuessed });
	const steps = stepsOf(look, { signer, isRegionGuessed });
	// Nothing more can be learnt where it cannot even be listed.
	if (look.list === undefined || look.error !== undefined) return steps;
	const store = await storeOf({ ...access, location: look.location }, variables, knowledge);
	const trial = { store, prefix: look.location.prefix, signal };
	try {
		const writes = flags.write && !flags.readOnly;
		steps.push(...(await tryReading(trial, { measures: !writes })));
		if (writes) steps.push(...(await tryWriting(trial)));
		else steps.push(skipped("write", flags.write ? "the mount is read-only" : "with --write only"));
	} finally {
		store.close();
	}
	return steps;
}

async function backendStep(mount: PreparedMount, context: CheckContext): Promise<Step> {
	if (mount.check === undefined) return skipped("backend", "this driver cannot ask its backend");
	const startedAt = performance.now();
	try {
		await mount.check(context);
		return passed("backend", "can be used", performance.now() - startedAt);
	} catch (error) {
		return failed("backend", toLauncherError(error), performance.now() - startedAt);
	}
}

async function storeOf(
	{ location, making }: BucketAccess,
	variables: NodeJS.ProcessEnv,
	knowledge: ServerKnowledge,
): Promise<ReturnType<typeof createObjectStore>> {
	const { endpoint, region, bucket, pathStyle, credentials, caBundle, insecureSkipVerify, requesterPays } = location;
	const { encryption, storageClass, acl } = making;
	return createObjectStore({
		endpoint,
		region,
		bucket,
		pathStyle,
		credentials,
		...(caBundle !== undefined && { ca: (await readNamedFile(caBundle)).toString() }),
		...(insecureSkipVerify !== undefined && { insecureSkipVerify }),
		...(requesterPays !== undefined && { requesterPays }),
		...(encryption !== undefined && { encryption }),
		...(storageClass !== undefined && { storageClass }),
		...(acl !== undefined && { acl }),
		proxyEnv: variables,
		knowledge,
		// Somebody waits for it.
		timeouts: { connectMs: 5000, firstByteMs: 10_000, idleMs: 10_000 },
		retryForMs: 10_000,
	});
}

function render({ path, source, driver, steps, concessions }: CheckedMount): string {
	const limits = concessions.map(({ message }) => [`${"note".padEnd(8)}server`, `it ${message}`] as const);
	const head = driver === undefined ? source : `${source}, by ${driver}`;
	return `${path} ${head}\n${renderSteps(steps)}${limits.length === 0 ? "" : rows(limits)}\n`;
}
