import fc from "fast-check";
import { expect, test } from "vitest";
import { crc32c, crc64nvme } from "../../src/s3/crc.ts";

/** Bit by bit, as the definition has it. */
function defined(data: Uint8Array, polynomial: bigint, width: bigint): bigint {
	const ones = (1n << width) - 1n;
	let crc = ones;
	for (const byte of data) {
		crc ^= BigInt(byte);
		for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ polynomial : crc >> 1n;
	}
	return crc ^ ones;
}

/** Of the text 123456789, as the catalogues of CRCs list it: https://reveng.sourceforge.io/crc-catalogue/all.htm */
test("give the published check values", () => {
	const text = Buffer.from("123456789");
	expect(crc32c(text)).toBe(0xe3069283);
	expect(crc64nvme(text)).toEqual([0xae8b1486, 0x0a799888]);
	expect([crc32c(Buffer.alloc(0)), ...crc64nvme(Buffer.alloc(0))]).toEqual([0, 0, 0]);
});

test("are what their definitions say, of any bytes at any place in a buffer", () => {
	fc.assert(
		fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat({ max: 7 }), (bytes, offset) => {
			const data = bytes.subarray(offset);
			expect(BigInt(crc32c(data))).toBe(defined(data, 0x82f63b78n, 32n));
			const [high, low] = crc64nvme(data);
			expect((BigInt(high) << 32n) | BigInt(low)).toBe(defined(data, 0x9a6c9329ac4bc9b5n, 64n));
		}),
	);
});
