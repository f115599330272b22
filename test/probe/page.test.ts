import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { History } from "../../src/probe/history.ts";
import type { LauncherStatus } from "../../src/probe/status.ts";
import { startServer } from "./running-server.ts";
import { accessDenied, concession, refusal, sampleMount, sampleStatus } from "./sample-status.ts";

const executablePath = "/usr/bin/chromium";
const missing = !existsSync(executablePath);
if (missing && process.env["CI"] === undefined)
	process.stderr.write(`skipping the tests of the status page: there is no ${executablePath}\n`);

const secondsAgo = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();

const troubled = () => [
	sampleMount({
		name: "images",
		since: secondsAgo(90_000),
		backend: { ok: true, checkedAt: secondsAgo(12) },
		restarts: 1,
		lastError: { ...accessDenied, code: "DRIVER_FAILED", message: "goofys ended by SIGKILL", at: secondsAgo(90_060) },
	}),
	sampleMount({
		name: "checkpoints",
		driver: "s3fs",
		readOnly: false,
		state: "degraded",
		reason: "the bucket does not answer",
		since: secondsAgo(125),
		backend: { ok: false, checkedAt: secondsAgo(4) },
		layers: 2,
		refusals: { counts: { InvalidObjectState: 1 }, last: { ...refusal, at: secondsAgo(61) } },
		concessions: [concession],
	}),
	sampleMount({
		name: "weights",
		source: `s3://weights/${"a-long-prefix/".repeat(12)}${"x".repeat(200)}`,
		state: "failed",
		ready: false,
		restarts: 6,
		since: secondsAgo(40),
		lastError: { ...accessDenied, at: secondsAgo(41) },
		// Half a minute to spare for a browser that is slow to show it.
		retryAt: secondsAgo(-630),
	}),
	sampleMount({ name: "late", state: "starting", ready: false, since: secondsAgo(1) }),
	sampleMount({ name: "old", state: "draining", ready: false, since: secondsAgo(3) }),
];

const card = (page: Page, name: string) =>
	page.getByRole("listitem").filter({ has: page.getByRole("heading", { name, exact: true }) });

interface View {
	readonly page: Page;
	readonly show: (status: LauncherStatus) => void;
	/** What went wrong in the browser, and every address that was asked for. */
	readonly problems: string[];
	readonly requested: string[];
	readonly url: string;
	readonly close: () => Promise<void>;
}

describe.skipIf(missing && process.env["CI"] === undefined)("the status page", () => {
	let browser: Browser;
	beforeAll(async () => {
		const args = [
			"--headless",
			"--no-sandbox",
			"--disable-gpu",
			"--disable-background-networking",
			"--disable-dev-shm-usage",
		];
		browser = await chromium.launch({ executablePath, args });
	}, 60_000);
	afterAll(() => browser.close());

	async function open(first: LauncherStatus, context: Parameters<Browser["newContext"]>[0] = {}): Promise<View> {
		let status = first;
		const server = await startServer({ status: () => status });
		const page = await browser.newPage({ reducedMotion: "reduce", ...context });
		onTestFinished(() => page.close());
		const problems: string[] = [];
		const requested: string[] = [];
		page.on("console", (message) => problems.push(message.text()));
		page.on("pageerror", (error) => problems.push(String(error)));
		page.on("request", (request) => requested.push(request.url()));
		await page.goto(server.url);
		await page.locator("#target").filter({ hasText: status.targetPath }).waitFor();
		return { page, show: (next) => (status = next), problems, requested, url: server.url, close: () => server.close() };
	}

	it("shows which change waits, what is wrong with a disk and why a config was rejected, until they are over", async () => {
		const { page, show } = await open(
			sampleStatus({
				mounts: [
					sampleMount({
						name: "images",
						pendingChange: "SIGNATURE_WRONG: the secret key is another",
						troubles: [{ about: "disk of cache", message: "/cache is <full>", since: "2026-07-31T03:01:00.000Z" }],
					}),
				],
				config: {
					state: "rejected",
					hash: "ab",
					appliedAt: secondsAgo(5),
					error: { ...accessDenied, code: "CONFIG_INVALID", message: "mounts[0].name: missing", hint: "Mend it." },
				},
			}),
		);
		expect(await card(page, "images").innerText()).toContain(
			"A change waits: SIGNATURE_WRONG: the secret key is another",
		);
		expect(await card(page, "images").innerText()).toContain("/cache is <full>, since 2026-07-31 03:01:00 UTC");
		const rejected = page.getByRole("region", { name: "The changed config cannot be used: what ran goes on" });
		expect(await rejected.innerText()).toContain("CONFIG_INVALID: mounts[0].name: missing");
		expect(await rejected.innerText()).toContain("What to do: Mend it.");
		show(sampleStatus({ mounts: [sampleMount({ name: "images" })] }));
		await rejected.waitFor({ state: "hidden" });
		expect(await card(page, "images").innerText()).not.toMatch(/A change waits|full/);
	});

	it("shows each mount with its state in words, what is wrong and what to do", async () => {
		const { page, problems } = await open(
			sampleStatus({ mounts: troubled(), warnings: ["The mount propagation is private."] }),
		);
		expect(await page.title()).toContain("/runtime-mnt/thin/default/training/thin-fuse");
		expect(await page.locator("#overall").textContent()).toBe("Not ready");
		expect(await page.locator("#summary").textContent()).toBe("2 of 5 mounts ready, 1 degraded");
		expect(await page.getByRole("region", { name: "Warnings" }).textContent()).toContain(
			"The mount propagation is private.",
		);

		const weights = await card(page, "weights").innerText();
		for (const text of [
			"Failed",
			"ACCESS_DENIED",
			"the key may not list training",
			"What to do: Allow it s3:ListBucket.",
			"Next try in 10 min",
			"goofys",
		]) {
			expect(weights).toContain(text);
		}
		const checkpoints = await card(page, "checkpoints").innerText();
		for (const text of [
			"Degraded",
			"the bucket does not answer",
			"s3fs",
			"read-write",
			"failing, ",
			"2 stacked",
			"Refused 1 min ",
			"GetObject old.bin: InvalidObjectState (The operation is not valid.) What to do: Restore it.",
			"The server does not know If-Match for reads.",
			"2 min ",
			"pid 42",
		]) {
			expect(checkpoints).toContain(text);
		}
		const images = await card(page, "images").innerText();
		for (const text of [
			"Ready",
			"Last error, since recovered",
			"goofys ended by SIGKILL",
			"reachable, ",
			"read-only",
			"s3://training/images",
			"1 d 1 h",
		]) {
			expect(images).toContain(text);
		}
		expect(problems).toEqual([]);
	});

	it("puts what needs a person first", async () => {
		const { page } = await open(sampleStatus({ mounts: troubled() }));
		expect(await page.locator("article h2").allTextContents()).toEqual([
			"weights",
			"checkpoints",
			"late",
			"images",
			"old",
		]);
	});

	it("updates by itself, says the change aloud, and adds and removes mounts", async () => {
		const { page, show, problems } = await open(sampleStatus());
		expect(await page.locator("#overall").textContent()).toBe("Ready");
		await page.evaluate("document.querySelector('article').dataset.seen = 'yes'");
		show(
			sampleStatus({
				mounts: [
					sampleMount({ state: "recovering", ready: false, reason: "goofys ended" }),
					sampleMount({ name: "more" }),
				],
			}),
		);
		await page.locator("#overall", { hasText: "Not ready" }).waitFor();
		expect(await card(page, "data").innerText()).toContain("goofys ended");
		expect(await card(page, "more").count()).toBe(1);
		expect(await page.getByRole("status").textContent()).toContain("data: Recovering");
		expect(await page.locator("article[data-seen]").count(), "the card is the same element").toBe(1);
		show(sampleStatus({ mounts: [sampleMount({ name: "more" })] }));
		await page.locator("#overall", { hasText: /^Ready$/ }).waitFor();
		expect(await card(page, "data").count()).toBe(0);
		expect(problems).toEqual([]);
	});

	it("says that contact is lost, since when, and what is old, and recovers", async () => {
		const { page, close, url } = await open(sampleStatus());
		const contact = page.getByRole("region", { name: "Connection" });
		expect(await contact.isVisible()).toBe(false);
		await close();
		await contact.waitFor();
		expect(await contact.textContent()).toMatch(
			/No contact since \d\d:\d\d:\d\d UTC \(\d+ s\).*below is what was known at \d\d:\d\d:\d\d UTC/s,
		);
		expect(await page.locator("#overall").textContent()).toBe("No contact");
		expect(await page.locator("#summary").textContent()).toBe("last known: ready, 1 of 1 mount ready");
		expect(await page.title()).toMatch(/^No contact/);
		expect(await page.getByRole("status").textContent()).toContain("No contact with the launcher");
		expect(await card(page, "data").count(), "the last known state stays").toBe(1);

		const port = Number(new URL(url).port);
		await startServer({
			listen: { kind: "tcp", host: "127.0.0.1", port },
			status: () => sampleStatus({ version: "1.2.4" }),
		});
		await contact.waitFor({ state: "hidden" });
		expect(await page.locator("#overall").textContent()).toBe("Ready");
		expect(await page.locator("#version").textContent()).toBe("1.2.4");
	});

	it("says that contact is lost when something else answers", async () => {
		const { page } = await open(sampleStatus());
		const contact = page.getByRole("region", { name: "Connection" });
		await page.route("**/status", (route) => route.fulfill({ body: "<html>a proxy's login page</html>" }));
		await contact.waitFor();
		expect(await contact.textContent()).toContain("What answers is not a launcher.");
		await page.route("**/status", (route) => route.fulfill({ status: 502, body: "bad gateway" }));
		await vi.waitFor(async () => expect(await contact.textContent()).toContain("HTTP status 502"), 10_000);
	});

	it("counts ages by the launcher's clock when the viewer's is wrong", async () => {
		const { page } = await open(sampleStatus({ mounts: [sampleMount({ since: secondsAgo(120) })] }));
		await page.clock.setSystemTime(Date.now() + 3_600_000);
		await page.reload();
		await card(page, "data").waitFor();
		expect(await card(page, "data").innerText()).toMatch(/1 min 5\d s|2 min \d s/);
	});

	it("shows hostile names and messages as text", async () => {
		const hostile = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>"'&`;
		const mount = sampleMount({
			name: hostile,
			source: hostile,
			target: hostile,
			driver: hostile,
			state: "failed",
			ready: false,
			reason: hostile,
			lastError: { ...accessDenied, message: `${hostile}.`, hint: hostile },
		});
		const { page, requested, url, problems } = await open(
			sampleStatus({ mounts: [mount], warnings: [hostile], configFile: hostile, version: hostile }),
		);
		expect(await page.getByRole("heading", { name: hostile }).count()).toBe(1);
		expect(await page.locator("img, main script").count()).toBe(0);
		expect(await page.title()).not.toContain("owned");
		expect(new Set(requested)).toEqual(
			new Set(["", "status", "history", "open-files"].map((path) => `${url}/${path}`)),
		);
		expect(problems).toEqual([]);
	});

	it("survives mounts of the same name, or named like a property", async () => {
		const mounts = ["twin", "twin", "__proto__", "constructor", ""].map((name) => sampleMount({ name }));
		const { page, problems } = await open(sampleStatus({ mounts }));
		expect(await page.locator("article h2").allTextContents()).toEqual([
			"twin",
			"twin",
			"__proto__",
			"constructor",
			"",
		]);
		expect(problems).toEqual([]);
	});

	it.each([1, 100])("draws what %d mounts did in the last quarter of an hour", async (count) => {
		const names = Array.from({ length: count }, (_, index) => `data-${index}`);
		const { page, problems, url } = await open(
			sampleStatus({ mounts: [...names, "command"].map((name) => sampleMount({ name })) }),
		);
		const none = Array.from({ length: 60 }, () => null);
		const mounts = names.map((mount, index) => ({
			mount,
			readBytesPerSecond: none.map((_, at) => (at === 59 ? 1024 : at * 1024 * 1024)),
			writtenBytesPerSecond: none.map(() => 0),
			operationsPerSecond: [1, 12.34],
			absentPerSecond: [0, 2],
			operationSeconds: [null, 0.02, null, 0.0002],
			firstByteSeconds: none,
			requestsPerSecond: [3, 7.5],
			retriesPerSecond: [0, 0],
			cacheHits: [0.5, 0.256],
			pendingBytes: [index === 0 ? 0 : 1024],
			openFiles: [3],
		}));
		await page.route("**/history", (route) => route.fulfill({ json: { everySeconds: 15, mounts } satisfies History }));
		await page.goto(url);
		const first = card(page, "data-0");
		await first.getByRole("img").first().waitFor();
		const said = await first
			.getByRole("img")
			.evaluateAll((charts) => charts.map((chart) => chart.getAttribute("aria-label")));
		expect(said).toEqual([
			"Throughput in the last quarter of an hour: read 1 KiB/s, written 0 B/s now, at most 58 MiB/s",
			"Operations a second in the last quarter of an hour: all 12, names not there 2 now, at most 12",
			"Nine of ten within in the last quarter of an hour: operations 200 µs, first byte of S3 – now, at most 20 ms",
			"Requests to S3 a second in the last quarter of an hour: all 7.5, tried again 0 now, at most 7.5",
			"Reads from memory in the last quarter of an hour: 26 % now, at most 50 %",
			"Not in the bucket yet in the last quarter of an hour: 0 B now, at most 0 B",
			"Open files in the last quarter of an hour: 3 now, at most 3",
		]);
		expect(await first.locator("figcaption").first().innerText()).toBe(
			"Throughput: read 1 KiB/s, written 0 B/s, at most 58 MiB/s",
		);
		const lines = await first.locator("path").evaluateAll((paths) => paths.map((path) => path.getAttribute("d")));
		// From the left edge upwards to one before the right edge, and down to almost nothing there.
		expect(lines[0]).toMatch(/^M0 23\.00h0\.3L1 22\.62L.*L58 1\.00L59 23\.00$/);
		// Two that are apart from each other, and nothing in between.
		expect(lines[4]).toBe("M57 1.00h0.3M59 22.78h0.3");
		expect(lines[5]).toBe("");
		expect(await page.locator(".charts:visible").count()).toBe(count);
		expect(await card(page, "command").getByRole("img").count()).toBe(0);
		expect(await page.evaluate(lowContrasts)).toEqual([]);
		await page.setViewportSize({ width: 360, height: 800 });
		expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(360);
		expect(problems).toEqual([]);
	});

	it("says who has files open, and how many, also of a hundred mounts", async () => {
		const names = Array.from({ length: 100 }, (_, index) => `data-${index}`);
		const openers = [
			{ pid: 4242, command: "/usr/bin/python3.11", files: 12, pod: "22222222-2222-4222-8222-222222222222" },
			{ pid: 4243, command: "/usr/bin/<cat>", files: 1 },
		];
		const server = await startServer({
			status: () => sampleStatus({ mounts: names.map((name) => sampleMount({ name })) }),
			openFiles: () => ({
				seesNode: true,
				mounts: names.slice(1).map((mount, index) => ({ mount, openers, others: index === 0 ? 3 : 0 })),
			}),
		});
		const page = await browser.newPage({ viewport: { width: 360, height: 800 }, colorScheme: "dark" });
		onTestFinished(() => page.close());
		await page.goto(server.url);
		const open =
			"Open: 12 files by python3.11 (pid 4242, pod 22222222-2222-4222-8222-222222222222), 1 file by <cat> (pid 4243)";
		await card(page, "data-1").getByText(`${open}, and by 3 more`, { exact: true }).waitFor();
		await card(page, "data-99").getByText(open, { exact: true }).waitFor();
		expect(await card(page, "data-0").innerText()).not.toContain("Open: ");
		expect(await page.evaluate(lowContrasts)).toEqual([]);
		expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(360);
	});

	it("says that a dataset has no mounts, but not before that is known", async () => {
		const { page, show } = await open(sampleStatus({ mounts: [], started: false, state: "starting" }));
		const empty = page.getByText("This dataset has no mounts. An empty folder is served");
		expect(await page.locator("#overall").textContent()).toBe("Starting");
		expect(await empty.isVisible()).toBe(false);
		show(sampleStatus({ mounts: [] }));
		await empty.waitFor();
		expect(await page.locator("#overall").textContent()).toBe("Ready");
	});

	const overall: [string, Partial<LauncherStatus>][] = [
		["Needs a restart", { alive: false }],
		["Draining", { state: "draining" }],
		["Starting", { mounts: [sampleMount({ state: "starting", ready: false })], started: false }],
		["Ready, degraded", { mounts: [sampleMount({ state: "degraded" })] }],
		["Not ready", { mounts: [sampleMount({ state: "degraded", ready: false })] }],
	];
	it.each(overall)("sums up as %s", async (word, changes) => {
		const { page } = await open(sampleStatus(changes));
		expect(await page.locator("#overall").textContent()).toBe(word);
	});

	it("asks nobody but the launcher, and links to the raw data", async () => {
		const { page, requested, url } = await open(sampleStatus());
		await vi.waitFor(
			() => expect(requested.filter((each) => each.endsWith("/status")).length).toBeGreaterThan(1),
			10_000,
		);
		expect(requested.filter((each) => new URL(each).origin !== url)).toEqual([]);
		for (const [name, path] of [
			["status (JSON)", "/status"],
			["metrics", "/metrics"],
			["readyz?verbose", "/readyz?verbose"],
		] as const) {
			expect(await page.getByRole("link", { name }).evaluate((link) => String(Reflect.get(link, "href")))).toBe(
				`${url}${path}`,
			);
			expect((await page.request.get(`${url}${path}`)).status()).toBe(200);
		}
	});

	it.each([360, 768, 1280])("needs no sideways scrolling at %d px", async (width) => {
		const { page } = await open(sampleStatus({ mounts: troubled(), targetPath: `/runtime-mnt/${"x".repeat(200)}` }), {
			viewport: { width, height: 800 },
		});
		expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(width);
	});

	it.each(["light", "dark"] as const)("has enough contrast in %s", async (colorScheme) => {
		const { page } = await open(sampleStatus({ mounts: troubled(), warnings: ["a warning"] }), { colorScheme });
		expect(await page.evaluate(lowContrasts)).toEqual([]);
		expect(await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")).toBe(colorScheme === "dark");
	});
});

/** Runs in the browser: every visible text whose contrast with its ground is below WCAG's 4.5 to 1. */
const lowContrasts = String.raw`(() => {
	const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
	const luminance = (colour) => {
		const [red, green, blue] = channels(colour).slice(0, 3).map((value) => {
			const share = value / 255;
			return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
		});
		return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
	};
	const ground = (element) => {
		for (let each = element; each; each = each.parentElement) {
			const colour = getComputedStyle(each).backgroundColor;
			if (channels(colour)[3] !== 0) return colour;
		}
		throw new Error("no ground");
	};
	const low = [];
	for (const element of document.querySelectorAll("body *")) {
		const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data.trim()).join("");
		if (text === "" || !element.checkVisibility() || element.closest("noscript, script, style")) continue;
		const [one, other] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
		const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
		if (contrast < 4.5) low.push(text + ": " + contrast.toFixed(2));
	}
	return low;
})()`;
