import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, projectRoot, until } from "../support/pod.ts";
import { minioPod, s3Drivers } from "../support/s3-drivers.ts";

const program = join(projectRoot, "test/end-to-end/soaked-launcher.ts");
/** Until everything that is made once has been made. */
const warmLooks = 20;
const soakLooks = 75;
/** A look that left a reaction at a promise, and a signal, had left four. */
const mostObjectsALook = 2;
/** Of resident memory in a soak, which went up by half a MiB. What leaks slower the objects tell. */
const mostGrownBytes = 4 * 1024 ** 2;

interface Soaked {
	readonly looks: number;
	readonly objects: number;
	readonly residentBytes: number;
}

let minio: Minio;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("data");
	await minio.put("data", "hello.txt", "hello\n");
});
afterAll(async () => minio.stop());
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

function told(here: Pod): Soaked[] {
	return here.log.filter(({ msg }) => msg === "soak") as unknown as Soaked[];
}

/** Goes on until so many more looks were made; `work` is done again and again meanwhile. Returns what was told then. */
async function soak(here: Pod, looks: number, work: () => Promise<void>): Promise<readonly Soaked[]> {
	const before = told(here);
	const goal = (before.at(-1)?.looks ?? 0) + looks;
	await until(
		async () => {
			await work();
			return (told(here).at(-1)?.looks ?? 0) >= goal;
		},
		150_000,
		() => `no ${looks} looks:\n${here.output}`,
	);
	return told(here).slice(before.length);
}

/** Nothing stays of each look: by the least of the first and of the last looks, since what is under way lives for a moment. */
function expectFlat(soaked: readonly Soaked[]): void {
	const third = Math.ceil(soaked.length / 3);
	const least = (some: readonly Soaked[]): Soaked => some.toSorted((a, b) => a.objects - b.objects)[0] as Soaked;
	const [first, last] = [least(soaked.slice(0, third)), least(soaked.slice(-third))];
	expect((last.objects - first.objects) / (last.looks - first.looks), "objects a look").toBeLessThan(mostObjectsALook);
	const leastBytes = (some: readonly Soaked[]): number => Math.min(...some.map(({ residentBytes }) => residentBytes));
	const grownBytes = leastBytes(soaked.slice(-third)) - leastBytes(soaked.slice(0, third));
	expect(grownBytes, "resident memory").toBeLessThan(mostGrownBytes);
}

/** A process that serves all mounts, and one a mount. */
const drivers = ["native", "goofys", "s3fs"].flatMap((wanted) => s3Drivers().find(({ name }) => name === wanted) ?? []);

describe.each(drivers)("$title", (driver) => {
	test("a launcher that looks again and again keeps nothing of it, idle or busy", { timeout: 600_000 }, async () => {
		const options = minioPod(minio, "data", driver, { program, accessModes: ["ReadWriteMany"] });
		pod = new Pod(options);
		const here = pod;
		here.start();
		await here.untilReady();
		const nothing = async (): Promise<void> => undefined;
		await soak(here, warmLooks, nothing);
		expectFlat(await soak(here, soakLooks, nothing));

		let round = 0;
		const secret = { "minio-access-key": minio.accessKey, "minio-access-secret": `${minio.secretKey}\n` };
		const work = async (): Promise<void> => {
			execFileSync(
				"sh",
				["-c", 'cat "$0/hello.txt" && echo written > "$0/file" && ls "$0" && rm "$0/file"', here.target],
				{
					timeout: 20_000,
				},
			);
			await Promise.all(["/status", "/metrics", "/readyz", "/livez"].map(async (path) => here.ask(path, 10_000)));
			// The same keys, so that there is something to be read and nothing to be replaced.
			if (++round % 5 === 0) here.writeSecret("minio-secret", secret);
		};
		await soak(here, warmLooks, work);
		expectFlat(await soak(here, soakLooks, work));
		expect(await here.stop()).toBe(0);
	});
});
