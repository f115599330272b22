import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { projectRoot } from "../support/pod.ts";
import { buildLimitMs, podman, takeImages, type ImageName, type Images } from "./store.ts";

let images: Images;
beforeAll(async () => {
	images = await takeImages();
}, buildLimitMs);
afterAll(async () => images?.release());

/** What a command prints in a container of the image. */
async function inside(image: ImageName, script: string): Promise<string> {
	const { stdout } = await podman([
		"run",
		"--rm",
		"--pull=never",
		"--entrypoint=bash",
		images.references[image],
		"-c",
		script,
	]);
	return stdout;
}

interface Component {
	readonly name: string;
	readonly version: string;
	readonly purl?: string;
}

const manifest = JSON.parse(readFileSync(join(projectRoot, "package.json"), "utf8")) as {
	version: string;
	dependencies: Record<string, string>;
};

describe.each(["native", "goofys", "s3fs"] as const)("the image with %s", (image) => {
	test("says what it is, and begins with tini", async () => {
		const { stdout } = await podman(["image", "inspect", images.references[image]]);
		const [{ Config: config }] = JSON.parse(stdout) as [
			{ Config: { Labels: Record<string, string>; Entrypoint: string[]; Cmd?: string[]; Volumes?: object } },
		];
		expect(config.Entrypoint).toEqual(["fluid-fuse"]);
		expect([config.Cmd ?? [], config.Volumes ?? {}]).toEqual([[], {}]);
		const label = (name: string) => config.Labels[`org.opencontainers.image.${name}`];
		expect(label("title")).toBe(image === "native" ? "fluid-fuse" : `fluid-fuse-${image}`);
		expect(label("version")).toBe(manifest.version);
		expect(label("licenses")).toBe("Apache-2.0");
		expect(label("description")).toMatch(/^Mounts buckets as folders inside a storage pod of Fluid/);
		expect(label("revision")).toMatch(/^[0-9a-f]{40}$/);
		expect(Date.parse(label("created") ?? "")).toBeGreaterThan(0);
	});

	test("has what Fluid's scripts call, and neither compiler nor npm", async () => {
		const needed =
			"bash cat grep expr sleep date awk wc ls df stat test mount umount mountpoint mkdir fusermount3 tini perl node fluid-fuse";
		const unwanted = "npm npx corepack yarn gcc cc g++ make go python3 rustc curl wget";
		const found = async (names: string) =>
			(await inside(image, `for name in ${names}; do command -v $name >/dev/null && echo $name; done; true`)).split(
				"\n",
			);
		expect(await found(needed)).toEqual(needed.split(" "));
		expect(await found(unwanted)).toEqual([""]);
		expect(await inside(image, "df --version | head -n 1")).toContain("GNU coreutils");
	});

	test("has a page of the manual", async () => {
		const page = await inside(image, "cat /usr/local/share/man/man1/fluid-fuse.1");
		expect(page).toContain(`.TH FLUID-FUSE 1 "" "fluid-fuse ${manifest.version}"`);
		expect(page).toContain(".SH EXIT STATUS");
	});

	test("has the certificates of authorities, licenses, and the types for vendors' drivers", async () => {
		const authorities = await inside(image, "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt");
		expect(Number(authorities)).toBeGreaterThan(100);
		expect(await inside(image, "cat /opt/fluid-fuse/dist/fluid-fuse.d.ts")).toBe(
			readFileSync(join(projectRoot, "types/fluid-fuse.d.ts"), "utf8").trimEnd(),
		);
		const licenses = await inside(image, "cat /opt/fluid-fuse/dist/third-party-licenses.txt");
		for (const name of Object.keys(manifest.dependencies)) expect(licenses).toContain(`${name} `);
		expect(await inside(image, "cat /usr/share/doc/node/copyright")).toContain("Node.js is licensed");
		const without = await inside(
			image,
			"for name in $(dpkg-query --show --showformat '${Package} '); do [ -e /usr/share/doc/$name/copyright ] || echo $name; done",
		);
		expect(without).toBe("");
		const ofGoofys = await inside(image, "cat /usr/share/doc/goofys/copyright 2>/dev/null; true");
		expect(ofGoofys.includes("github.com/kahing/goofys v0.24.0")).toBe(image === "goofys");
	});

	test("lists everything that is in it, once", async () => {
		const sbom = JSON.parse(await inside(image, "cat /usr/share/sbom/fluid-fuse.cdx.json")) as {
			bomFormat: string;
			components: Component[];
		};
		expect(sbom.bomFormat).toBe("CycloneDX");
		const urls = sbom.components.flatMap(({ purl }) => (purl === undefined ? [] : [purl.replace(/\?.*/, "")]));
		const listed = urls.filter((url) => url.startsWith("pkg:deb/")).map((url) => decodeURIComponent(url));
		const installed = await inside(image, "dpkg-query --show --showformat 'pkg:deb/debian/${Package}@${Version}\\n'");
		expect(listed.toSorted()).toEqual(installed.split("\n").toSorted());
		const bundled = Object.entries(manifest.dependencies).map(
			([name, version]) => `pkg:npm/${name.replace("@", "%40")}@${version}`,
		);
		expect(urls).toEqual(expect.arrayContaining(bundled));
		expect(urls.filter((url) => url.startsWith("pkg:generic/node@"))).toEqual([
			`pkg:generic/node@${await inside(image, "node --version | tr -d v")}`,
		]);
		expect(urls.includes("pkg:golang/github.com/kahing/goofys@v0.24.0")).toBe(image === "goofys");
		// No addon is in the bundle, and no tool.
		expect(urls.filter((url) => /fuse-native|typescript|vitest|rolldown/.test(url))).toEqual([]);
	});

	test("is as large as docs/images.md says", () => {
		const row = new RegExp(`^\\| \`fluid-fuse${image === "native" ? "" : `-${image}`}\` .* (\\d+) MB \\|$`, "m");
		const [, written] = row.exec(readFileSync(join(projectRoot, "docs/images.md"), "utf8")) ?? [];
		const megabytes = images.megabytes[image];
		expect(Math.abs(megabytes / Number(written) - 1), `${image} has ${megabytes} MB`).toBeLessThan(0.05);
		expect(megabytes).toBeLessThan(130);
	});
});
