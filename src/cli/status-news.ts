import type { DriverTrouble } from "../drivers/driver.ts";
import type { ChangeStatus, LauncherStatus, MountStatus } from "../probe/status.ts";
import { terminalText } from "./terminal.ts";

/** What is different between two looks at the launcher, a line each; of the first look, how everything is. */
export function newsSince(before: LauncherStatus | undefined, after: LauncherStatus): string[] {
	const news: [subject: string, text: string][] = [];
	if (before?.state !== after.state) news.push(["launcher", after.state]);
	if (JSON.stringify(before?.config) !== JSON.stringify(after.config)) news.push(["config", configNews(after)]);
	const known = new Map(before?.changes.map((change) => [change.number, change]));
	for (const change of after.changes) {
		const old = known.get(change.number);
		if (old === undefined && before === undefined && change.endedAt !== undefined) continue;
		if (old?.state !== change.state || old.outcome !== change.outcome) news.push([change.mount, changeNews(change)]);
	}
	for (const mount of after.mounts) {
		const old = before?.mounts.find(({ name }) => name === mount.name);
		if (old === undefined || mountNews(old) !== mountNews(mount)) news.push([mount.name, mountNews(mount)]);
		for (const text of troubleNews(old?.troubles ?? [], mount.troubles ?? [])) news.push([mount.name, text]);
	}
	for (const { name } of before?.mounts ?? [])
		if (!after.mounts.some((mount) => mount.name === name)) news.push([name, "gone"]);
	const width = Math.max(...news.map(([subject]) => subject.length));
	return news.map(([subject, text]) => terminalText(`${subject.padEnd(width)}  ${text}`).replaceAll("\n", " "));
}

function configNews({ config }: LauncherStatus): string {
	if (config === undefined) return "not read yet";
	return config.state === "applied"
		? `applied, hash ${config.hash.slice(0, 12)}`
		: `rejected: ${config.error?.message ?? "no reason given"}`;
}

function changeNews({ number, change, reason, state, outcome }: ChangeStatus): string {
	return `change ${number} (${change}: ${reason}) ${state}${outcome === undefined ? "" : `: ${outcome}`}`;
}

function troubleNews(before: readonly DriverTrouble[], after: readonly DriverTrouble[]): string[] {
	const begun = after.filter(({ message }) => !before.some((old) => old.message === message));
	const over = before.filter(({ about }) => !after.some((trouble) => trouble.about === about));
	return [
		...begun.map(({ about, message }) => `trouble with ${about}: ${message}`),
		...over.map(({ about }) => `no trouble with ${about} any more`),
	];
}

function mountNews({ state, reason, pid, restarts, retiring }: MountStatus): string {
	const process = [
		...(pid === undefined ? [] : [`pid ${pid}`]),
		...(restarts === 0 ? [] : [`restarted ${restarts} times`]),
		...(retiring === undefined ? [] : [`${retiring} before it still serving`]),
	];
	return [state, ...process].join(", ") + (reason === undefined || state === "ready" ? "" : `: ${reason}`);
}
