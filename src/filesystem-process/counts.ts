import type { StoreEvent } from "../s3/object-store.ts";
import { durationBounds, type Measured, type Sample } from "./measures.ts";
import { operationNames } from "./operation-names.ts";

/** A server may have any number of codes; the rest of them is one. */
const maximumCodes = 32;

const boundsMs = [...durationBounds.map((seconds) => seconds * 1000), Number.POSITIVE_INFINITY];

/** How often something took how long. Counting is one of the few things that each request pays for. */
class Durations {
	readonly #counts = new Float64Array(boundsMs.length);
	#sumMs = 0;

	add(ms: number): void {
		let bucket = 0;
		// The first ones are the usual ones.
		while (ms > (boundsMs[bucket] as number)) bucket++;
		this.#counts[bucket]!++;
		this.#sumMs += ms;
	}

	sample(...labels: string[]): Sample {
		return { labels, value: this.#sumMs / 1000, counts: [...this.#counts] };
	}
}

interface OperationCount {
	succeeded: number;
	readonly failed: Map<string, number>;
	readonly durations: Durations;
}

interface RequestCount {
	readonly codes: Map<string, number>;
	readonly firstBytes: Durations;
	readonly wholes: Durations;
}

/** What is counted of one volume, as long as its process lives. */
export class VolumeCounts {
	readBytes = 0;
	writtenBytes = 0;
	/** By their numbers. */
	readonly #operations: (OperationCount | undefined)[] = operationNames.map(() => undefined);
	readonly #requests = new Map<string, RequestCount>();
	readonly #retries = new Map<string, number>();
	readonly #waits = new Durations();
	#receivedBytes = 0;
	#sentBytes = 0;

	/** `operation`: its number. */
	answered(operation: number, errno: string | undefined, ms: number): void {
		const count = (this.#operations[operation] ??= { succeeded: 0, failed: new Map(), durations: new Durations() });
		if (errno === undefined) count.succeeded++;
		else increase(count.failed, errno);
		count.durations.add(ms);
	}

	take(event: StoreEvent): void {
		switch (event.kind) {
			case "request":
				this.#requested(event);
				return;
			case "retry":
				increase(this.#retries, event.reason);
				return;
			case "failure":
				// There are counts of refusals.
				return;
			default:
				event satisfies never;
		}
	}

	#requested(event: StoreEvent & { readonly kind: "request" }): void {
		const { operation, status, code, seconds, firstByteSeconds, waitedSeconds } = event;
		let count = this.#requests.get(operation);
		if (count === undefined) {
			count = { codes: new Map(), firstBytes: new Durations(), wholes: new Durations() };
			this.#requests.set(operation, count);
		}
		const label = labelOf(code ?? `${status}`);
		increase(count.codes, count.codes.has(label) || count.codes.size < maximumCodes ? label : "other");
		if (firstByteSeconds !== undefined) count.firstBytes.add(firstByteSeconds * 1000);
		if (seconds !== undefined) count.wholes.add(seconds * 1000);
		this.#waits.add(waitedSeconds * 1000);
		this.#receivedBytes += event.receivedBytes;
		this.#sentBytes += event.sentBytes;
	}

	measured(): Measured {
		const operations = operationNames.flatMap((name, index) => {
			const count = this.#operations[index];
			return count === undefined ? [] : [[name, count] as const];
		});
		const requests = [...this.#requests];
		const hasRequests = requests.length > 0;
		return {
			operations_total: operations.flatMap(([operation, { succeeded, failed }]) => [
				...(succeeded > 0 ? [{ labels: [operation, ""], value: succeeded }] : []),
				...Array.from(failed, ([errno, value]) => ({ labels: [operation, errno], value })),
			]),
			operation_duration_seconds: operations.map(([operation, { durations }]) => durations.sample(operation)),
			read_bytes_total: [{ labels: [], value: this.readBytes }],
			written_bytes_total: [{ labels: [], value: this.writtenBytes }],
			s3_requests_total: requests.flatMap(([operation, { codes }]) =>
				Array.from(codes, ([code, value]) => ({ labels: [operation, code], value })),
			),
			s3_request_first_byte_seconds: requests.map(([operation, { firstBytes }]) => firstBytes.sample(operation)),
			s3_request_duration_seconds: requests.map(([operation, { wholes }]) => wholes.sample(operation)),
			s3_connection_wait_seconds: hasRequests ? [this.#waits.sample()] : [],
			s3_retries_total: Array.from(this.#retries, ([reason, value]) => ({ labels: [reason], value })),
			s3_received_bytes_total: [{ labels: [], value: this.#receivedBytes }],
			s3_sent_bytes_total: [{ labels: [], value: this.#sentBytes }],
		};
	}
}

/** A stranger's word becomes a label. */
export function labelOf(code: string): string {
	return /^[A-Za-z0-9][\w.-]{0,63}$/.test(code) ? code : "other";
}

function increase(counts: Map<string, number>, name: string): void {
	counts.set(name, (counts.get(name) ?? 0) + 1);
}
