"""Rates of convergence and limits of stability, in closed form and measured."""
