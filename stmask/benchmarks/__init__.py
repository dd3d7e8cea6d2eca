"""Time and memory of the parts, in one form: what `stmask benchmark` runs.

Each contender (a network, a configuration, a backend, a file) is a process of its own, see `worker`, so that memory is
its own and nothing that it sets changes another; the processes take turns, see `turns`. A contender measures the
package that it imports: the same code of this folder also runs beside another version of the rest, in another checkout.
It therefore uses few of the package's names, and such as last.
"""
