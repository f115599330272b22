import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { sh, useBuckets } from "../buckets.ts";

const buckets = useBuckets("directories-ahead");

const directories = Array.from({ length: 16 }, (_, index) => `tree/${String(index).padStart(2, "0")}`);

async function fill(): Promise<void> {
	const names = directories.flatMap((directory) => [`${directory}/a`, `${directory}/below/b`]);
	await Promise.all(names.map(async (name) => buckets.minio.put(buckets.name, name, "x")));
}

test("directories that a program goes through in order are listed before it comes to them", async () => {
	await fill();
	const here = await buckets.mountThroughProxy();
	let underWay = 0;
	let most = 0;
	let requests = 0;
	const before = async (): Promise<void> => {
		requests++;
		most = Math.max(most, ++underWay);
		await delay(50);
		underWay--;
	};
	await buckets.proxy.fail({ kind: "headers", headers: {} }, { before });
	const found = await sh(here, "find tree -type f | sort");
	expect(found.split("\n")).toEqual(directories.flatMap((directory) => [`${directory}/a`, `${directory}/below/b`]));
	expect(most).toBeGreaterThanOrEqual(4);
	// Each is listed once; few are asked for by themselves besides.
	expect(requests).toBeLessThan(2 * directories.length + 2 * directories.length * 0.8);
});

test("nothing is listed ahead where directories are opened here and there", async () => {
	await fill();
	const here = await buckets.mount();
	await sh(here, "ls tree");
	const before = (await here.stats())["requests"] ?? 0;
	for (const index of [9, 2, 13, 5, 0]) await sh(here, `ls ${directories[index]}`);
	// The directory itself, and what is in it.
	expect((await here.stats())["requests"]).toBeLessThanOrEqual(before + 10);
});

test("what is changed here in a directory that was listed ahead is seen in it", async () => {
	await fill();
	const here = await buckets.mount();
	await sh(here, `ls tree; ls ${directories.slice(0, 4).join(" ")}`);
	// Until it is there.
	await delay(500);
	await sh(here, "echo y >tree/04/new; rm tree/04/a; rm -r tree/05/below; mkdir tree/06/made; mv tree/07 tree/moved");
	const listed = "ls tree/04; echo; ls tree/05; echo; ls tree/06; echo; ls tree/moved";
	expect(await sh(here, listed)).toBe("below\nnew\n\na\n\na\nbelow\nmade\n\na\nbelow");
});

test("directories of more than a page of names are complete, and each name is there once", async () => {
	const names = ["big/0", "big/1"];
	await Promise.all(
		names.flatMap((name) =>
			Array.from({ length: 1200 }, async (_, index) =>
				buckets.minio.put(buckets.name, index % 3 === 0 ? `${name}/d${index}/f` : `${name}/d${index}`, "x"),
			),
		),
	);
	const here = await buckets.mount();
	expect(
		await sh(here, "for name in big/*; do ls -U $name | sort | uniq | wc -l; ls -U $name | wc -l; done | uniq"),
	).toBe("1200");
	expect(await sh(here, "find big -type f | wc -l; find big -type d | wc -l")).toBe("2400\n803");
});
