import {
	GetObjectTaggingCommand,
	HeadObjectCommand,
	PutObjectCommand,
	type HeadObjectCommandOutput,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { sh, useBuckets } from "./buckets.ts";

const buckets = useBuckets("properties");
/** A server whose listings hold no metadata, as most do not. */
let plain: FaultProxy;

beforeAll(async () => {
	plain = await startFaultProxy(buckets.minio.endpoint);
	await plain.fail({ kind: "headers", headers: { server: undefined } });
});
afterAll(async () => {
	await plain.stop();
});

const properties = {
	ContentType: "text/css",
	CacheControl: "max-age=60",
	ContentDisposition: 'attachment; filename="x"',
	ContentEncoding: "gzip",
	ContentLanguage: "de",
	StorageClass: "REDUCED_REDUNDANCY",
} as const;
const expires = new Date("2030-01-01T00:00:00Z");

/** An object that another program has given all that it can. */
async function putFull(key: string, body = "0123456789"): Promise<void> {
	await buckets.minio.client.send(
		new PutObjectCommand({
			Bucket: buckets.name,
			Key: key,
			// Not empty, and no Buffer: Node would send a header that is not ASCII as Latin-1 then, and the SDK has signed it as UTF-8.
			Body: body,
			...properties,
			Expires: expires,
			Tagging: "project=a%20b&cost=1",
			Metadata: { author: "José" },
		}),
	);
}

async function head(key: string): Promise<HeadObjectCommandOutput> {
	return buckets.minio.client.send(new HeadObjectCommand({ Bucket: buckets.name, Key: key }));
}

/** What the server has of it by now; metadata that are not ASCII as MinIO says them. */
async function propertiesOf(key: string): Promise<object> {
	const { Metadata, ...found } = await head(key);
	const { TagSet = [] } = await buckets.minio.client.send(
		new GetObjectTaggingCommand({ Bucket: buckets.name, Key: key }),
	);
	return { ...found, author: Metadata?.["author"], tags: TagSet.map(({ Key, Value }) => `${Key}=${Value}`).toSorted() };
}

const full = {
	...properties,
	ExpiresString: expires.toUTCString(),
	author: "=?UTF-8?q?Jos=C3=A9?=",
	tags: ["cost=1", "project=a b"],
};

const large = "head -c 20000000 /dev/zero";

/** What programs do to `file`, and what it is called then. */
const changes: readonly (readonly [script: string, key?: string])[] = [
	["echo more >>file"],
	["printf X | dd of=file bs=1 seek=3 conv=notrunc status=none"],
	["truncate -s 4 file"],
	["echo new >file"],
	[`${large} >file`],
	[`${large} >>file`],
	["chmod 600 file"],
	["touch -d @1500000000 file"],
	["setfattr -n user.a -v b file"],
	["exec 3>>file; echo more >&3; chmod 600 file; exec 3>&-"],
	["mv file other", "other"],
	["echo x >other; mv file other", "other"],
	["echo a >>file; mv file other; echo b >>other", "other"],
	["mkdir from; mv file from/file; mv from to", "to/file"],
];

test.each(["MinIO", "plain"])("an object keeps what it has beside its bytes, with listings of %s", async (kind) => {
	for (const index of changes.keys()) await putFull(`${index}/file`);
	const here = await buckets.mount({ endpoint: kind === "MinIO" ? buckets.minio.endpoint : plain.endpoint });
	for (const [index, [script, key = "file"]] of changes.entries()) {
		await sh(here, `cd ${index} && ${script}`);
		expect(await propertiesOf(`${index}/${key}`), script).toMatchObject(full);
	}
});

test("an object that is changed in its middle after it was written in parts keeps what it has", async () => {
	await putFull("file", "x".repeat(20_000_000));
	const here = await buckets.mount();
	await sh(here, "printf X | dd of=file bs=1 seek=9000000 conv=notrunc status=none");
	expect(await propertiesOf("file")).toMatchObject(full);
	expect((await head("file")).ContentLength).toBe(20_000_000);
});

test("a directory keeps what its object has", async () => {
	await putFull("directory/");
	const here = await buckets.mount();
	await sh(here, "chmod 700 directory; touch directory");
	expect(await propertiesOf("directory/")).toMatchObject(full);
	expect((await head("directory/")).Metadata?.["mode"]).toBe(String(0o040_700));
});

test("tags and headers that others change are kept too, after the TTL at the latest", async () => {
	await buckets.minio.put(buckets.name, "file", "x");
	const here = await buckets.mount({ volume: { ttlMs: 0 } });
	await sh(here, "echo a >>file; exec 3>>file; echo b >&3; exec 3>&-");
	await putFull("file");
	await sh(here, "echo c >>file");
	expect(await propertiesOf("file")).toMatchObject(full);
});

test("files have a type by their names, also by the names that they get", async () => {
	const here = await buckets.mount();
	await sh(
		here,
		`echo x >page.html; ${large} >clip.MP4; echo x >data; echo x >html; cp page.html b.json; : >empty.csv`,
	);
	const type = async (key: string): Promise<unknown> => (await head(key)).ContentType;
	const generic = "application/octet-stream";
	expect(await Promise.all(["data", "page.html", "clip.MP4", "html", "b.json", "empty.csv"].map(type))).toEqual([
		generic,
		"text/html",
		"video/mp4",
		generic,
		"application/json",
		"text/csv",
	]);
	await sh(here, "mv page.html page.txt; mv data data.png; echo more >>page.txt; echo more >>data.png; mv b.json b");
	expect([await type("page.txt"), await type("data.png"), await type("b")]).toEqual([
		"text/plain",
		"image/png",
		generic,
	]);
	const server = "binary/octet-stream";
	await sh(here, "ln -s data.png link.html; mkdir directory.html; mv link.html link.txt");
	expect([await type("link.txt"), await type("directory.html/")]).toEqual([server, "application/x-directory"]);
});

test.each(["MinIO", "plain"])(
	"a file keeps all else when its type follows its name, with listings of %s",
	async (kind) => {
		const { ContentType: _, ...others } = properties;
		await buckets.minio.client.send(
			new PutObjectCommand({
				Bucket: buckets.name,
				Key: "from.tmp",
				Body: "x",
				...others,
				Expires: expires,
				Tagging: "project=a%20b&cost=1",
				Metadata: { author: "José", mode: String(0o100_640), uid: "7", mtime: "1500000000" },
			}),
		);
		const here = await buckets.mount({ endpoint: kind === "MinIO" ? buckets.minio.endpoint : plain.endpoint });
		await sh(here, "mv from.tmp to.csv");
		expect(await propertiesOf("to.csv")).toMatchObject({ ...full, ContentType: "text/csv" });
		const again = await buckets.mount({ volume: { attributes: "all" } });
		expect(await sh(again, "stat -c '%a %u %Y' to.csv; cat to.csv")).toBe("640 7 1500000000\nx");
	},
);

test("new files have no type of ours where that is not wanted", async () => {
	const here = await buckets.mount({ volume: { contentTypes: false } });
	await sh(here, "echo x >page.html");
	expect((await head("page.html")).ContentType).toBe("binary/octet-stream");
});

test("a new file takes no request more, and a known one none until the TTL is over", async () => {
	const here = await buckets.mount({ endpoint: plain.endpoint });
	const requestsOf = async (script: string): Promise<number> => {
		const { requests: before = 0 } = await here.stats();
		await sh(here, script);
		const { requests = 0 } = await here.stats();
		return requests - before;
	};
	await sh(here, "ls");
	const write = (flag: string): string => `python3 -c 'open("file", "${flag}").write("x")'`;
	expect(await requestsOf(write("w"))).toBe(1);
	// What is appended to is read.
	expect(await requestsOf(write("a"))).toBe(2);
	expect(await requestsOf("chmod 600 file")).toBe(1);
	expect(await requestsOf("mv file other")).toBe(2);
});

test("a key that may not read an object can overwrite it", async () => {
	await putFull("file");
	const credentials = await buckets.minio.temporaryCredentials({
		policy: {
			Version: "2012-10-17",
			Statement: [
				{ Effect: "Allow", Action: ["s3:ListBucket"], Resource: [`arn:aws:s3:::${buckets.name}`] },
				{ Effect: "Allow", Action: ["s3:PutObject"], Resource: [`arn:aws:s3:::${buckets.name}/*`] },
			],
		},
	});
	const here = await buckets.mount({ endpoint: plain.endpoint, credentials });
	await sh(here, "echo new >file");
	expect((await buckets.minio.get(buckets.name, "file")).toString()).toBe("new\n");
});
