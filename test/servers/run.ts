import { mkdir, mkdtemp, readFile, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Pod } from "../support/pod.ts";
import { differencesIn, differencesOnServer, entriesOf, type Wanted } from "./compare.ts";
import type { Keys, RunningServer } from "./server.ts";
import { bashIn, longStepLimitMs, makeSources, stepLimitMs, steps, type Place, type Step } from "./steps.ts";

export type DriverName = "native" | "s3fs";

export interface Result {
	readonly step: string;
	readonly outcome: "works" | "fails" | "not there";
	/** Why it failed; of what is not there, why it cannot be asked. */
	readonly said?: string;
	/** What the server was found to lack meanwhile, in the log's words. */
	readonly without?: readonly string[];
	readonly seconds: number;
}

export interface RunOptions {
	readonly server: RunningServer;
	readonly driver: DriverName;
	readonly steps: readonly Step[];
	/** Start refusals, too. */
	readonly starts: boolean;
	/** Another address of the server: of what records the exchange. */
	readonly endpoint?: string;
	/** Ends it, and takes down what it has put up. */
	readonly signal?: AbortSignal;
	/** It was done; what it came to is looked at later. */
	readonly onStep?: (step: string, seconds: number) => void;
	readonly onResult: (result: Result, log: string) => void;
}

/** Runs the steps in one mount of the server, then looks at what they came to through the server and through a fresh mount. */
export async function runSteps(options: RunOptions): Promise<Result[]> {
	const folder = await mkdtemp(join(tmpdir(), `fluid-fuse-steps-${options.server.kind.name}-`));
	const pods: Pod[] = [];
	const { promise: ended, reject } = Promise.withResolvers<never>();
	options.signal?.addEventListener("abort", () => reject(new Error("ended early")));
	try {
		return await Promise.race([runIn(folder, pods, options), ended]);
	} finally {
		for (const pod of pods.toReversed()) await pod.cleanup();
		await rm(folder, { recursive: true, force: true });
	}
}

async function runIn(folder: string, pods: Pod[], options: RunOptions): Promise<Result[]> {
	const { server, driver, onResult } = options;
	const sources = join(folder, "sources");
	await mkdir(sources);
	await makeSources(sources);
	const begun: { step: Step; number: number; wanted: Wanted; failure?: string; without: string[]; seconds: number }[] =
		[];
	let pod = await mounted(options, pods);
	for (const [number, step] of options.steps.entries()) {
		const plain = join(folder, "plain", String(number));
		await mkdir(plain, { recursive: true });
		const limitMs = limitOf(step);
		await step.run(placeIn({ folder: plain, sources, limitMs }, undefined));
		const wanted: Wanted = {
			entries: await entriesOf(plain, stepLimitMs),
			attributes: step.attributes === true,
			notCompared: step.notCompared,
		};
		const started = performance.now();
		const logged = pod.log.length;
		let failure: string | undefined;
		try {
			await bashIn({ folder: pod.target, sources }, `mkdir ${driver}-${number}`);
			const folder = join(pod.target, `${driver}-${number}`);
			await step.run(placeIn({ folder, sources, limitMs }, { server, prefix: `${driver}-${number}/` }));
		} catch (error) {
			failure = saidBy(error);
		}
		const seconds = Math.round((performance.now() - started) / 1000);
		const without = concededSince(pod, logged);
		options.onStep?.(step.name, seconds);
		begun.push({ step, number, wanted, ...(failure !== undefined && { failure }), without, seconds });
		// Whatever hangs there must not be in the next one's way.
		if (seconds > slowSeconds) {
			await pod.cleanup();
			pod = await mounted(options, pods);
		}
	}
	const output = pod.output;
	await pod.stop().catch(() => undefined);
	await pod.cleanup();
	const fresh = await mounted(options, pods);
	const results: Result[] = [];
	for (const { step, number, wanted, failure: failed, without: conceded, seconds } of begun) {
		const prefix = `${driver}-${number}/`;
		let failure = failed;
		const logged = fresh.log.length;
		try {
			failure ??= firstOf(
				await differencesOnServer(
					{
						list: async () => (await server.list(prefix)).map((key) => key.slice(prefix.length)),
						get: async (path) => server.get(prefix + path),
					},
					wanted,
				),
				"in the bucket",
			);
			failure ??= firstOf(await differencesIn(join(fresh.target, prefix), wanted, limitOf(step)), "in a new mount");
		} catch (error) {
			failure ??= saidBy(error);
		}
		if (failure === undefined && step.long !== true && seconds > slowSeconds)
			failure = "it works, after a minute of retries";
		const without = [...new Set([...conceded, ...concededSince(fresh, logged)])];
		const result: Result = {
			step: step.name,
			outcome: failure === undefined ? "works" : "fails",
			...(failure !== undefined && { said: failure }),
			...(without.length > 0 && { without }),
			seconds,
		};
		onResult(result, output);
		results.push(result);
	}
	await fresh.stop().catch(() => undefined);
	if (options.starts) {
		for (const refusal of starts) {
			const result = await startWrongly(options, refusal, pods);
			onResult(result, "");
			results.push(result);
		}
	}
	return results;
}

function limitOf({ long }: Step): number {
	return long === true ? longStepLimitMs : stepLimitMs;
}

/** What the server was found to lack since so many lines of the log. */
function concededSince({ log }: Pod, lines: number): string[] {
	return log.slice(lines).flatMap((line) => (typeof line["difference"] === "string" ? [line["difference"]] : []));
}

function firstOf(differences: readonly string[], where: string): string | undefined {
	const [first] = differences;
	if (first === undefined) return undefined;
	return `${where}: ${first}${differences.length > 1 ? `, and ${differences.length - 1} more` : ""}`;
}

/** The last line that a program complained with, without the paths of this run. */
function saidBy(error: unknown): string {
	const lines = String(error instanceof Error ? error.message : error)
		.split("\n")
		.filter((line) => line.trim() !== "");
	const telling = lines.findLast((line) => /rror|annot|denied|such|failed|close/.test(line)) ?? lines.at(-1) ?? "";
	return (
		telling
			.replaceAll(/\/\S*\/(native|s3fs)-\d+\//g, "")
			.replaceAll(/\/tmp\/\S*\//g, "")
			.replace(/^Error: /, "")
			// What came before the complaint on another stream, in a form for programs.
			.replace(/\0.*/s, "")
			.slice(0, 200)
	);
}

function placeIn(
	{ folder, sources, limitMs }: { readonly folder: string; readonly sources: string; readonly limitMs: number },
	other: { readonly server: RunningServer; readonly prefix: string } | undefined,
): Place {
	return {
		folder,
		sources,
		isPlain: other === undefined,
		put: async (path, body) =>
			other === undefined ? writeFile(join(folder, path), body) : other.server.put(other.prefix + path, body),
		remove: async (path) =>
			other === undefined ? unlink(join(folder, path)) : other.server.delete(other.prefix + path),
		bash: async (script) => bashIn({ folder, sources }, script, limitMs),
	};
}

interface PodSettings {
	readonly keys?: Keys;
	readonly bucket?: string;
	readonly region?: string;
}

function podOf({ server, driver, endpoint = server.endpoint }: RunOptions, settings: PodSettings = {}): Pod {
	const { accessKey, secretKey } = settings.keys ?? server.keys;
	const region = settings.region ?? server.region;
	return new Pod({
		mounts: [
			{
				mountPoint: `s3://${settings.bucket ?? server.bucket}`,
				name: "steps",
				options: {
					endpoint,
					region,
					"access-key": "/etc/fluid/secrets/keys/access",
					"secret-key": "/etc/fluid/secrets/keys/secret",
					// Most servers list no metadata, and s3fs asks for each name in any case.
					...(driver === "native" ? { attributes: "all" } : { use_xattr: "true" }),
				},
			},
		],
		secrets: { keys: { access: accessKey, secret: secretKey } },
		accessModes: ["ReadWriteMany"],
		env: { FLUID_FUSE_DRIVER: driver },
	});
}

async function mounted(options: RunOptions, pods: Pod[], settings: PodSettings = {}): Promise<Pod> {
	const pod = podOf(options, settings);
	pods.push(pod);
	pod.start();
	await pod.untilReady(60_000);
	return pod;
}

interface WrongStart {
	readonly step: string;
	readonly codes: readonly string[];
	settings(server: RunningServer): PodSettings;
	/** Whether the server itself tells that this is wrong. */
	isTold(server: RunningServer): Promise<boolean>;
}

const isRefused = async (work: Promise<unknown>): Promise<boolean> =>
	work.then(
		() => false,
		() => true,
	);

async function listWith(server: RunningServer, other: { keys?: Keys; region?: string }): Promise<unknown> {
	const { ListObjectsV2Command } = await import("@aws-sdk/client-s3");
	return server.clientWith(other).send(new ListObjectsV2Command({ Bucket: server.bucket, MaxKeys: 1 }));
}

const wrongKey = ({ keys }: RunningServer): Keys => ({ ...keys, accessKey: "nobody-has-this-key" });
const wrongSecret = ({ keys }: RunningServer): Keys => ({ ...keys, secretKey: "wrong" });

const starts: readonly WrongStart[] = [
	{
		step: "say that the key is wrong",
		codes: ["KEY_UNKNOWN", "SIGNATURE_WRONG", "ACCESS_DENIED"],
		settings: (server) => ({ keys: wrongKey(server) }),
		isTold: async (server) => isRefused(listWith(server, { keys: wrongKey(server) })),
	},
	{
		step: "say that the secret is wrong",
		codes: ["KEY_UNKNOWN", "SIGNATURE_WRONG", "ACCESS_DENIED"],
		settings: (server) => ({ keys: wrongSecret(server) }),
		isTold: async (server) => isRefused(listWith(server, { keys: wrongSecret(server) })),
	},
	{
		step: "say that there is no such bucket",
		codes: ["BUCKET_MISSING"],
		settings: () => ({ bucket: "no-such-bucket" }),
		isTold: async () => true,
	},
];

/** A mount that cannot be: the launcher has to say why. */
async function startWrongly(options: RunOptions, wrong: WrongStart, pods: Pod[]): Promise<Result> {
	const began = performance.now();
	const seconds = (): number => Math.round((performance.now() - began) / 1000);
	if (!(await wrong.isTold(options.server)))
		return { step: wrong.step, outcome: "not there", said: "the server accepts it", seconds: seconds() };
	const pod = podOf(options, wrong.settings(options.server));
	pods.push(pod);
	pod.start();
	let code = "none";
	const deadline = Date.now() + 40_000;
	while (Date.now() < deadline && !wrong.codes.includes(code)) {
		const said = pod.log.findLast((line) => typeof line["code"] === "string");
		const found = said?.["code"] ?? pod.terminationMessage?.["code"];
		code = typeof found === "string" ? found : "none";
		await sleep(100);
	}
	await pod.cleanup();
	return wrong.codes.includes(code)
		? { step: wrong.step, outcome: "works", seconds: seconds() }
		: { step: wrong.step, outcome: "fails", said: `it says ${code}`, seconds: seconds() };
}

/** Requests are tried again for a minute: what takes as long has waited for nothing. */
const slowSeconds = 55;

export interface ServerResults {
	readonly server: string;
	readonly title: string;
	readonly version: string;
	readonly drivers: Partial<Record<DriverName, { readonly version: string; readonly results: readonly Result[] }>>;
}

export const resultsFolder = join(import.meta.dirname, "results");

export async function readResults(name: string): Promise<ServerResults | undefined> {
	try {
		return JSON.parse(await readFile(join(resultsFolder, `${name}.json`), "utf8")) as ServerResults;
	} catch {
		// It was never run.
		return undefined;
	}
}

export const allSteps = (): readonly string[] => [...steps.map(({ name }) => name), ...starts.map(({ step }) => step)];
