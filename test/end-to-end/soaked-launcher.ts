#!/usr/bin/env -S node --disable-sigusr1
/**
 * The launcher, for the soak: it looks at its mounts a hundred times as often, and says now and then how many looks that were and how
 * many objects live and what memory is resident.
 */
import { queryObjects } from "node:v8";
import { Prober } from "../../src/probe/prober.ts";
import { defaultTiming, type Timing } from "../../src/supervisor/timing.ts";

const tellEvery = 5;
Object.assign(defaultTiming, { watchEveryMs: 10, backendEveryMs: 100 } satisfies Partial<Timing>);

let looks = 0;
// oxlint-disable-next-line typescript/unbound-method -- it is called on its prober
const { ask } = Prober.prototype;
Prober.prototype.ask = async function askAndCount(this: Prober) {
	const verdict = await ask.call(this);
	if (++looks % tellEvery === 0) {
		// Whatever is garbage is gone before it counts.
		const objects = queryObjects(Object, { format: "count" });
		const residentBytes = process.memoryUsage.rss();
		process.stdout.write(`${JSON.stringify({ msg: "soak", looks, objects, residentBytes })}\n`);
	}
	return verdict;
};

await import("../../src/main.ts");
