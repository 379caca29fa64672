export { createTestDatabase, testPostgresUrlVariable, type TestDatabase } from './create-test-database.ts';
