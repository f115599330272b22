import { describe } from "vitest";
import { s3Drivers } from "../support/s3-drivers.ts";
import { testSupervision } from "./supervision.ts";

describe.each(s3Drivers().filter(({ name }) => name === "goofys"))("$title", (driver) => {
	testSupervision(driver);
});
