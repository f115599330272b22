import { setTimeout as sleep } from "node:timers/promises";
import type { Environment } from "../config/environment.ts";
import { errorKinds } from "../errors.ts";
import { requestLauncher } from "../probe/client.ts";
import type { ChangeStatus, ConfigStatus, LauncherStatus, MountStatus, OpenFiles, Recovery } from "../probe/status.ts";
import type { Output } from "./output.ts";
import { newsSince } from "./status-news.ts";
import { count, terminalText, rows } from "./terminal.ts";

export interface StatusFlags {
	readonly json: boolean;
	/** Go on, and say what changes. */
	readonly watch: boolean;
}

const watchEveryMs = 500;

/** Shows what the running launcher knows. Returns 0, or 69 when none answers. */
export async function status(environment: Environment, flags: StatusFlags, output: Output): Promise<number> {
	const { json, watch } = flags;
	let before: LauncherStatus | undefined;
	for (;;) {
		const launcher = await ask(environment, output);
		if (launcher === undefined) return errorKinds.BACKEND_REFUSED.exitCode;
		if (!watch) {
			if (json) output.out(`${JSON.stringify(launcher, undefined, 2)}\n`);
			else output.out(renderStatus(launcher, new Date(), await askOpenFiles(environment)));
			return 0;
		}
		const news = newsSince(before, launcher);
		const time = new Date().toISOString();
		if (json && news.length > 0) output.out(`${JSON.stringify(launcher)}\n`);
		else for (const line of news) output.out(`${time}  ${line}\n`);
		before = launcher;
		await sleep(watchEveryMs);
	}
}

async function ask(environment: Environment, output: Output): Promise<LauncherStatus | undefined> {
	const answer = await requestLauncher(environment.FLUID_FUSE_RUN_DIR, "/status");
	if (answer.kind === "unreachable" || answer.statusCode !== 200) {
		const reason =
			answer.kind === "unreachable" ? answer.reason : `the launcher answers ${answer.statusCode} to /status`;
		output.err(`${reason}\n`);
		return undefined;
	}
	// The launcher is this same program, so that its answer needs no check.
	return JSON.parse(answer.body) as LauncherStatus;
}

/** Undefined: the launcher does not say. */
async function askOpenFiles({ FLUID_FUSE_RUN_DIR }: Environment): Promise<OpenFiles | undefined> {
	const answer = await requestLauncher(FLUID_FUSE_RUN_DIR, "/open-files");
	return answer.kind === "answer" && answer.statusCode === 200 ? (JSON.parse(answer.body) as OpenFiles) : undefined;
}

/** For people, as blocks that fit a narrow terminal. */
export function renderStatus(launcher: LauncherStatus, now: Date, openFiles?: OpenFiles): string {
	const {
		version,
		pid,
		startedAt,
		state,
		alive,
		targetPath,
		dataset,
		configFile,
		config,
		changes,
		unseen,
		warnings,
		mounts,
	} = launcher;
	const head = `fluid-fuse ${version}: ${state} for ${elapsed(startedAt, now)}, pid ${pid}${alive ? "" : ", beyond repair"}\n`;
	const facts = rows([
		...(dataset === undefined ? [] : [["dataset", `${dataset.namespace}/${dataset.name}`] as const]),
		["config", configFile || "not read yet"],
		["target", targetPath || "not known yet"],
		["mounts", `${mounts.filter(({ ready }) => ready).length} of ${mounts.length} ready`],
		...(config === undefined ? [] : [configRow(config, now)]),
		...changes.slice(-5).map((change) => changeRow(change, now)),
		...(unseen === undefined ? [] : [["unseen", unseen] as const]),
		...warnings.map((warning) => ["warning", warning] as const),
	]);
	const openIn = (name: string) => openFiles?.mounts.find(({ mount }) => mount === name);
	return [head + facts, ...mounts.map((mount) => renderMount(mount, now, openIn(mount.name)))].join("\n");
}

function configRow({ state, hash, appliedAt, error }: ConfigStatus, now: Date): [string, string] {
	const applied = `applied ${elapsed(appliedAt, now)} ago, hash ${hash.slice(0, 12)}`;
	if (state === "applied") return ["reload", applied];
	return [
		"reload",
		`rejected: ${error?.code ?? ""}: ${error?.message ?? ""}\n${error?.hint ?? ""}\nstill in use: ${applied}`,
	];
}

function changeRow(
	{ number, change, mount, reason, state, outcome, since }: ChangeStatus,
	now: Date,
): [string, string] {
	const end = outcome === undefined ? "" : `\n${outcome}`;
	return ["change", `${number}: ${change} ${mount} (${reason}), ${state}, begun ${elapsed(since, now)} ago${end}`];
}

function renderMount(mount: MountStatus, now: Date, open: OpenFiles["mounts"][number] | undefined): string {
	const { name, driver, source, target, readOnly, state, since, pid, restarts, layers, lastError, retryAt } = mount;
	const ready = mount.ready ? "ready" : "not ready";
	const head = `${terminalText(name)}: ${state}${state === ready ? "" : `, ${ready}`} for ${elapsed(since, now)}\n`;
	const process = [pid === undefined ? "no process" : `pid ${pid}`, count(restarts, "restart"), count(layers, "layer")];
	if (mount.retiring !== undefined) process.push(`${mount.retiring} before it still serving`);
	const facts: [string, string][] = [
		["source", source],
		["target", target || "none"],
		["driver", `${driver || "none"}, ${readOnly ? "read-only" : "read-write"}`],
		["process", process.join(", ") + recovered(mount.lastRecovery, now)],
	];
	if (mount.answeredSecondsAgo !== undefined) facts.push(["answered", `${duration(mount.answeredSecondsAgo)} ago`]);
	if (mount.backend !== undefined) {
		const { ok, checkedAt, seconds } = mount.backend;
		const took = seconds === undefined ? "" : ` in ${seconds.toFixed(2)}s`;
		facts.push(["backend", `${ok ? "ok" : "failing"}${took}, checked ${elapsed(checkedAt, now)} ago`]);
	}
	if (open !== undefined) facts.push(["open", openRow(open)]);
	if (mount.droppedLines > 0) facts.push(["log", `${count(mount.droppedLines, "line")} of the driver dropped`]);
	if (mount.pendingChange !== undefined) facts.push(["pending", mount.pendingChange]);
	if (mount.withoutEffect !== undefined) facts.push(["no effect", mount.withoutEffect]);
	for (const { folder, gives, unused } of mount.tieredStore ?? [])
		facts.push(unused === undefined ? ["cache", `${folder}: ${gives.join(", ")}`] : ["unused", `${folder}: ${unused}`]);
	if (mount.reason !== undefined && mount.reason !== lastError?.message) facts.push(["reason", mount.reason]);
	for (const { about, message, since: begun } of mount.troubles ?? [])
		facts.push(["trouble", `${about}, for ${elapsed(begun, now)}\n${message}`]);
	for (const { message, noticed, since: begun } of mount.concessions ?? [])
		facts.push(["without", `${message}\nfor ${elapsed(begun, now)}: ${noticed}`]);
	if (mount.refusals !== undefined) facts.push(refusalRow(mount.refusals, now));
	if (lastError !== undefined) {
		facts.push(["error", `${lastError.code}, ${elapsed(lastError.at, now)} ago\n${lastError.message}`]);
		if (lastError.hint !== undefined) facts.push(["hint", lastError.hint]);
	}
	if (retryAt !== undefined) facts.push(["retry", `in ${duration((Date.parse(retryAt) - now.getTime()) / 1000)}`]);
	return head + rows(facts);
}

/** Those with most files, a line each. */
function openRow({ openers, others }: OpenFiles["mounts"][number]): string {
	const shown = openers.slice(0, 5);
	const left = others + openers.length - shown.length;
	const lines = shown.map(
		({ files, command, pid, pod, path = "" }) =>
			`${count(files, "file")} by ${command} (pid ${pid}${pod === undefined ? "" : `, pod ${pod}`}), such as ${path}`,
	);
	return [...lines, ...(left === 0 ? [] : [`and by ${left} more`])].join("\n");
}

function recovered(recovery: Recovery | undefined, now: Date): string {
	if (recovery === undefined) return "";
	const { kind, seconds, at } = recovery;
	const how = kind === "continued" ? "continued under the same mount" : "mounted anew";
	return `\n${how} ${elapsed(at, now)} ago, ${seconds.toFixed(1)} s after its end`;
}

function refusalRow({ counts, last }: NonNullable<MountStatus["refusals"]>, now: Date): [string, string] {
	const { code, at, message, hint } = last;
	const all = Object.values(counts).reduce((sum, each) => sum + each, 0);
	return [
		"refused",
		`${code}, ${elapsed(at, now)} ago, ${all} in all\n${message}${hint === undefined ? "" : `\n${hint}`}`,
	];
}

function elapsed(since: string, now: Date): string {
	return duration((now.getTime() - Date.parse(since)) / 1000);
}

/** The two largest units, such as `3h 12m`; nothing is ever less than 0 s. */
function duration(seconds: number): string {
	const whole = Math.max(0, Math.round(seconds));
	const units: [number, string][] = [
		[Math.floor(whole / 86_400), "d"],
		[Math.floor(whole / 3600) % 24, "h"],
		[Math.floor(whole / 60) % 60, "m"],
		[whole % 60, "s"],
	];
	const first = units.findIndex(([value]) => value > 0);
	if (first === -1) return "0s";
	return units
		.slice(first, first + 2)
		.filter(([value]) => value > 0)
		.map(([value, unit]) => `${value}${unit}`)
		.join(" ");
}
