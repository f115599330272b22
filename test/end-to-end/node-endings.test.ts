import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startMinio, type Minio } from "../support/minio.ts";
import { projectRoot, until } from "../support/pod.ts";
import { s3Drivers } from "../support/s3-drivers.ts";
import { endings, expectedErrors, Life, type Healing, type Setting } from "./endings.ts";

let minio: Minio;

beforeAll(async () => {
	minio = await startMinio();
	for (const bucket of ["one", "two"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "hello.txt", `hello from ${bucket}\n`);
	}
});
afterAll(async () => {
	await minio.stop();
	showTable();
});

const all = Object.keys(endings) as (keyof typeof endings)[];
const drivers = s3Drivers().filter(({ name }, index, list) => list.findIndex((other) => other.name === name) === index);
const healings: (Healing & { readonly how: string; readonly driver: string })[] = [];

/** Several mounts of goofys and s3fs are mounts in a mount, which CSI's bind does not show. */
function settingsOf(driver: Setting["driver"]): Omit<Setting, "driver">[] {
	const several = driver.name === "native";
	return driver.name === "goofys"
		? [
				{ seesNode: true, readOnly: true, several },
				{ seesNode: false, readOnly: false, several },
			]
		: [
				{ seesNode: true, readOnly: false, several },
				{ seesNode: false, readOnly: true, several },
			];
}

test.concurrent.each(drivers)(
	"$name: however it ends, applications heal, and at the end nothing is left",
	{ timeout: 240_000 },
	async (driver) => {
		for (const setting of settingsOf(driver)) {
			const { saw, leftByUnseeing, left } = await liveThrough({ driver, ...setting });
			expect(expectedErrors, saw.join()).toEqual(expect.arrayContaining([...saw]));
			expect(leftByUnseeing).toHaveLength(setting.seesNode ? 0 : 1);
			expect(left).toEqual([]);
		}
	},
);

test.concurrent("after many ends applications heal whenever they came", { timeout: 240_000 }, async () => {
	const driver = { title: "native", name: "native" } as const;
	const life = await Life.begin(minio, { driver, seesNode: true, readOnly: true, several: false });
	try {
		for (let ends = 1; ends <= 18; ends++) {
			if ([1, 5, 15].includes(ends)) await life.startApplication();
			await life.end(ends % 6 === 0 ? "SIGTERM, and a restart in place" : "`kill -9` of the driver");
			// One for those who came at the same time, and one that is alive. Applications see that before the launcher says so.
			const layers = 2 + Number(ends >= 5) + Number(ends >= 15);
			await until(
				async () => (await life.storage.status()).mounts[0]?.layers === layers,
				10_000,
				() => `not ${layers} layers after ${ends} ends`,
			);
		}
		await life.endApplications();
		await life.deletePod();
		expect(life.left()).toEqual([]);
	} finally {
		await life.node.stop();
	}
});

/** Throws when an application does not heal. */
async function liveThrough(setting: Setting) {
	const life = await Life.begin(minio, setting);
	try {
		await life.startApplication();
		const saw = new Set<string>();
		for (const [index, how] of all.entries()) {
			const healing = await life.end(how);
			for (const error of healing.saw) saw.add(error);
			healings.push({ how, driver: setting.driver.name, ...healing });
			// One that comes when there are dead layers already.
			if (index === 2) await life.startApplication();
		}
		await life.endApplications();
		await life.deletePod();
		const leftByUnseeing = life.left();
		// The next pod has the node's /proc.
		life.startStorage({ seesNode: true });
		await life.storage.untilReady();
		await life.deletePod();
		return { saw: [...saw], leftByUnseeing, left: life.left() };
	} finally {
		await life.node.stop();
	}
}

test("docs/upgrade.md has each way to end in its table", () => {
	const page = readFileSync(join(projectRoot, "docs/upgrade.md"), "utf8");
	for (const how of all) expect(page).toContain(`| ${how} |`);
});

/** As docs/upgrade.md has it: the longest of all settings and applications, in seconds. */
function showTable(): void {
	const rows = all.map((how) => {
		const cells = drivers.map(({ name }) => {
			const seconds = healings.filter((each) => each.how === how && each.driver === name).map(({ brokenS }) => brokenS);
			return seconds.length === 0 ? "" : Math.max(...seconds).toFixed(1);
		});
		return `| ${[how, ...cells].join(" | ")} |`;
	});
	process.stdout.write(
		`\n| seconds of errors after | ${drivers.map(({ name }) => name).join(" | ")} |\n${rows.join("\n")}\n`,
	);
	process.stdout.write(`errors: ${[...new Set(healings.flatMap(({ saw }) => saw))].join(", ")}\n`);
}
