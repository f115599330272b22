/** Takes the pictures in docs/screenshots of a real launcher with real mounts: `node test/demo/screenshots.ts`, as root. */
import { readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium, type Browser } from "playwright-core";
import { freePort } from "../support/listen.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, projectRoot, until, type FluidMount } from "../support/pod.ts";

const folder = join(projectRoot, "docs/screenshots");
const limitMs = 30_000;

const minio = await startMinio();
try {
	for (const bucket of ["images", "checkpoints"]) await minio.createBucket(bucket);
	const port = await freePort();
	const mounts = ["images", "checkpoints"].map((name) => mountOf(minio, name));
	const pod = new Pod({
		mounts,
		secrets: Object.fromEntries(["images", "checkpoints", "weights"].map((name) => [name, keys(minio.secretKey)])),
		accessModes: ["ReadWriteMany"],
		env: { FLUID_FUSE_LAYOUT: "named", FLUID_FUSE_PROBE_ADDRESS: `127.0.0.1:${port}` },
	});
	const browser = await chromium.launch({
		executablePath: "/usr/bin/chromium",
		args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
	});
	try {
		pod.start();
		await pod.untilReady(limitMs);
		await work(pod);
		await take(browser, pod, port, "healthy");

		pod.writeConfig(pod.renderConfig({ mounts: [...mounts, mountOf(minio, "weights")] }));
		pod.writeSecret("images", keys("a key that the server does not know"));
		await until(
			async () => (await pod.status()).changes.filter(({ state }) => state === "waiting").length === 2,
			limitMs,
			() => `the changes do not wait:\n${pod.output}`,
		);
		await take(browser, pod, port, "troubled");
	} finally {
		await browser.close();
		await pod.cleanup();
	}
} finally {
	await minio.stop();
}

function keys(secretKey: string): Record<string, string> {
	return { "access-key": minio.accessKey, "secret-key": secretKey };
}

function mountOf({ endpoint }: Minio, name: string): FluidMount {
	const secret = `/etc/fluid/secrets/${name}`;
	return {
		mountPoint: `s3://${name}`,
		name,
		options: { endpoint, "access-key": `${secret}/access-key`, "secret-key": `${secret}/secret-key` },
	};
}

/** For the charts: minutes in which applications write, read, and look for what is not there, some more and some less. */
async function work({ target }: Pod): Promise<void> {
	const until = performance.now() + 4 * 60_000;
	for (let round = 1; performance.now() < until; round++) {
		for (const name of ["images", "checkpoints"]) {
			const file = join(target, name, `${round % 7}.bin`);
			await writeFile(file, Buffer.alloc((round % 5) * 1024 * 1024, round));
			await readFile(file);
			await stat(`${file}.lock`).catch(() => undefined);
		}
		await sleep(500 * (round % 3));
	}
}

async function take(browser: Browser, pod: Pod, port: number, name: string): Promise<void> {
	const page = await browser.newPage({
		viewport: { width: 900, height: 400 },
		colorScheme: "light",
		reducedMotion: "reduce",
	});
	try {
		// All that is not as it was: folders and ports of this machine would be others each time.
		await page.route("**/status", async (route) => {
			const answer = await route.fetch();
			const body = (await answer.text())
				.replaceAll(dirname(pod.target), "/runtime-mnt/thin/default/training")
				.replaceAll(pod.configFile, "/etc/fluid/config/config.json")
				.replaceAll(minio.endpoint, "http://minio:9000");
			await route.fulfill({ response: answer, body });
		});
		await page.goto(`http://127.0.0.1:${port}/`);
		await page.getByText("/runtime-mnt/thin/").first().waitFor();
		// The two mounts that matter come first.
		const second = await page.getByRole("listitem").nth(1).boundingBox();
		if (second === null) throw new Error("the page does not show two mounts");
		const clip = { x: 0, y: 0, width: 900, height: Math.ceil(second.y + second.height) + 16 };
		await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true, clip });
	} finally {
		await page.close();
	}
}
