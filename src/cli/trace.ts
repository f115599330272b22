import type { Environment } from "../config/environment.ts";
import { errorKinds, LauncherError } from "../errors.ts";
import type { TracedEvent, TracedRequest } from "../filesystem-process/traced-event.ts";
import { duration } from "../options/option.ts";
import { followLauncher } from "../probe/client.ts";
import type { Output } from "./output.ts";
import { terminalText } from "./terminal.ts";

export interface TraceFlags {
	readonly mount: string | undefined;
	readonly path: string | undefined;
	readonly slow: string | undefined;
	readonly json: boolean;
}

/** What the launcher tells. */
type Told = ({ readonly mount: string } & TracedEvent) | { readonly kind: "lost"; readonly count: number };

/** Prints what applications do until the signal is aborted. Returns 0, or 69 when no launcher answers. Throws USAGE. */
export async function trace(
	{ mount, path, slow, json }: TraceFlags,
	environment: Environment,
	signal: AbortSignal,
	output: Output,
): Promise<number> {
	const query = new URLSearchParams({
		...(mount !== undefined && { mount }),
		...(path !== undefined && { path }),
		...(slow !== undefined && { "slow-ms": `${millisecondsOf(slow)}` }),
	});
	const reason = await followLauncher(
		environment.FLUID_FUSE_RUN_DIR,
		`/trace?${query.toString()}`,
		// The launcher is this same program, so that its answer needs no check.
		(line) => output.out(json ? `${line}\n` : `${terminalText(rendered(JSON.parse(line) as Told))}\n`),
		signal,
	);
	if (reason === undefined) return 0;
	output.err(`${reason}\n`);
	return errorKinds.BACKEND_REFUSED.exitCode;
}

function millisecondsOf(text: string): number {
	const { data } = duration({ description: "" }).safeParse(text);
	if (data === undefined)
		throw new LauncherError("USAGE", `--slow: expected a duration such as 30s, 500ms or 5m`, {
			hint: "See fluid-fuse trace --help.",
		});
	return data;
}

/** `12:00:01.234 data read a/b.bin 0+131072 = 131072 4.2 ms`, and each request in a line below. */
function rendered(told: Told): string {
	if (told.kind === "lost") return `${told.count} more were left out: they came faster than they could be told`;
	const { at, mount, operation, path = "(removed)", to, offset, sizeBytes, lengthBytes, requests, moreRequests } = told;
	const size = sizeBytes ?? lengthBytes;
	const words = [
		at.slice(11, 23),
		mount,
		operation,
		path === "" ? "/" : path,
		...(to === undefined ? [] : ["to", to]),
		...(offset === undefined ? [] : [size === undefined ? `${offset}` : `${offset}+${size}`]),
		...(told.kind === "later" ? ["went on:"] : ["=", told.error ?? `${told.bytes ?? "ok"}`, `${told.ms ?? 0} ms`]),
		...(told.pid === undefined || told.pid === 0 ? [] : [`pid ${told.pid}`]),
	];
	const more = moreRequests === undefined ? [] : [`    and ${moreRequests} more requests`];
	return [words.join(" "), ...requests.map(renderedRequest), ...more].join("\n");
}

function renderedRequest({ operation, key = "", result, ms, receivedBytes, sentBytes }: TracedRequest): string {
	const bytes = [
		...(receivedBytes > 0 ? [`${receivedBytes} bytes received`] : []),
		...(sentBytes > 0 ? [`${sentBytes} bytes sent`] : []),
	];
	return `    ${[operation, key, result, `${ms} ms`, bytes.join(", ")].filter((word) => word !== "").join(" ")}`;
}
