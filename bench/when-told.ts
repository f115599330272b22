import { once } from "node:events";
import { createInterface } from "node:readline";

/**
 * The child's side of a measurement: says that it is ready, waits for a line, does the work and prints its seconds. Then it
 * stays until its standard input ends, so that what it has used can still be read from /proc.
 */
export async function whenTold(work: () => void | Promise<void>): Promise<void> {
	const told = createInterface(process.stdin);
	process.stdout.write("ready\n");
	await once(told, "line");
	const startedAt = performance.now();
	await work();
	process.stdout.write(`${JSON.stringify({ seconds: (performance.now() - startedAt) / 1000 })}\n`);
	await once(told, "close");
}
