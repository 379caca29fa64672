/** Nx loads generators by require, on whatever Node (20 or newer) runs it; this leads to the generator, which is a module. */
module.exports = async (tree, options) => (await import('./generator.mjs')).leaseTypeGenerator(tree, options);
